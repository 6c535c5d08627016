"""Decides whose turn it is at an output location: claim, adopt, refuse, or nothing to do.

The claim is read first. One that is not finished belongs to its job: that job goes on with the
plan it finds and never plans anew, because a listing or a model may have changed meanwhile;
everybody else is refused. A location that is free, finished or released is planned for: an equal
plan that is finished, and whose files are there, means nothing to do; anything else depends on the
mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from batch_inference_api.choices import OutputMode
from batch_inference_api.reasons import Reason
from batch_inference_runner.commit.claim import Claim, make_claim, read_claim, win_claim
from batch_inference_runner.commit.damage import find_damage
from batch_inference_runner.commit.exclusive import create_or_read
from batch_inference_runner.commit.foreign import (
    accounted_by,
    find_strays,
    find_visible,
    list_sizes,
    shown,
)
from batch_inference_runner.commit.layout import CLAIM, SUCCESS, plan_key
from batch_inference_runner.commit.manifest import Manifest, NotAManifest, read_manifest
from batch_inference_runner.commit.probe import probe
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.plan.document import from_json, identity_of, to_json
from batch_inference_runner.storage.store import NotFound, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batch_inference_api.runner_contract import RunnerConfig
    from batch_inference_runner.plan.plan import Plan
    from batch_inference_runner.storage.store import Store

_RACES = 10
"""How often another driver may come in between."""

_FIELDS = {
    "input.uris": "input.storageUris",
    "input.csv.newlines_in_values": "input.csv.newlinesInValues",
    "model.uri": "model.storageUri",
    "onError": "errorPolicy.onError",
}
"""What a plan calls otherwise than the manifest does."""

_TOLD = 4
"""How many differences a message names."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What opening has settled. `fresh`: nobody can have committed anything yet but by racing."""

    plan: Plan
    claim: Claim | None
    complete: Manifest | None
    fresh: bool


def open_location(
    store: Store,
    config: RunnerConfig,
    make_plan: Callable[[], Plan],
    begin_plan: Callable[[], object],
) -> Opened:
    """Settle whose turn it is. `make_plan` and `begin_plan` as in `Output.open`.

    Raises JobFailed(OutputPathClaimed, OutputExists, OutputStoreUnsafe, VersionSkew), whatever
    `begin_plan` and `make_plan` raise, and the store's exceptions.
    """
    for _ in range(_RACES):
        opened = _open_once(store, config, make_plan, begin_plan)
        if opened is not None:
            return opened
    raise StoreError(f"{store.uri!r} changes hands again and again")


def _open_once(
    store: Store,
    config: RunnerConfig,
    make_plan: Callable[[], Plan],
    begin_plan: Callable[[], object],
) -> Opened | None:
    """Return None when another driver came in between: look again."""
    held = read_claim(store)
    success = _read_success(store, held[0] if held else None)
    manifest = success[0] if success else None
    if held and not _is_over(held[0], manifest):
        return _resume(store, config, held[0])
    begin_plan()
    sizes = list_sizes(store)
    foreign = _find_foreign(sizes, config, manifest)
    if foreign:
        if read_claim(store) != held:
            return None
        raise _exists(store, shown(foreign))
    if success is None:
        probe(store, replaces=held is not None)
        return _claim(store, config, make_plan(), held, None)
    return _open_result(store, config, make_plan(), held, success, sizes)


def _open_result(
    store: Store,
    config: RunnerConfig,
    plan: Plan,
    held: tuple[Claim, str] | None,
    success: tuple[Manifest, str],
    sizes: Mapping[str, int],
) -> Opened | None:
    """Settle it for a location that holds a result; `sizes` are those of what was listed there."""
    manifest, mode = success[0], _mode(config)
    is_complete = _is_complete(manifest, plan, mode)
    if is_complete or mode == OutputMode.APPEND:
        damage = find_damage(store, manifest, sizes)
        if damage is None and is_complete:
            return Opened(plan, held[0] if held else None, complete=manifest, fresh=False)
        if damage is not None and read_manifest(store) != success:
            return None
        if damage is not None and mode != OutputMode.OVERWRITE:
            raise _damaged(store, damage, is_complete=is_complete)
    _check_mode(store, manifest, plan, config)
    probe(store, replaces=True)
    return _claim(store, config, plan, held, manifest)


def _read_success(store: Store, claim: Claim | None) -> tuple[Manifest, str] | None:
    """Read the manifest. Raises JobFailed: without a claim, what is none is another program's."""
    try:
        return read_manifest(store)
    except NotAManifest as error:
        if claim is not None:
            raise
        raise JobFailed(
            Reason.OUTPUT_EXISTS,
            f"{store.uri!r} already holds a result of another program: its {SUCCESS!r} is no "
            f"manifest of this runner, and is never replaced; use an empty output location, or "
            f"remove what is there",
        ) from error


def is_finished(claim: Claim, manifest: Manifest | None) -> bool:
    """Say whether the claim's own generation has its `_SUCCESS`."""
    return manifest is not None and manifest.generation >= claim.generation


def _is_over(claim: Claim, manifest: Manifest | None) -> bool:
    return claim.released or is_finished(claim, manifest)


def _is_complete(manifest: Manifest, plan: Plan, mode: str) -> bool:
    if mode == OutputMode.APPEND:
        return plan.hash in manifest.plans
    return manifest.plans == (plan.hash,)


def _check_mode(store: Store, manifest: Manifest, plan: Plan, config: RunnerConfig) -> None:
    """Refuse a location whose result may not be replaced, or not be added to."""
    if _mode(config) == OutputMode.ERROR_IF_EXISTS:
        raise _exists(store, "another result")
    if _mode(config) == OutputMode.APPEND:
        _check_appendable(store, manifest, plan, config)


def _check_appendable(store: Store, manifest: Manifest, plan: Plan, config: RunnerConfig) -> None:
    # Only here: it imports numpy and pyarrow, for which no first row should wait.
    from batch_inference_runner.commit.appending import differences_to

    differences = tuple(islice(differences_to(manifest, plan, config.output), _TOLD))
    if differences:
        raise JobFailed(
            Reason.OUTPUT_EXISTS,
            f"{store.uri!r} holds a result that this one cannot be appended to, because readers "
            f"take all files of an output as one: {'; '.join(differences)}; write the same "
            f"columns, format and partitions, or use another output location",
        )


def _claim(
    store: Store,
    config: RunnerConfig,
    plan: Plan,
    held: tuple[Claim, str] | None,
    manifest: Manifest | None,
) -> Opened | None:
    last = max(held[0].generation if held else 0, manifest.generation if manifest else 0)
    own = make_claim(config.job, plan_hash=plan.hash, mode=_mode(config), generation=last + 1)
    document = to_json(plan)
    stored = create_or_read(store, plan_key(own.work), document)
    holder = win_claim(store, own, version=held[1] if held else None)
    if holder == own:
        # An equal plan may have been left by a driver that died before it could claim.
        plan = plan if stored == document else from_json(stored)
        return Opened(plan, own, complete=None, fresh=True)
    if not holder.is_of(config.job):
        raise _claimed(store, config, holder, "it was faster")
    return None


def _resume(store: Store, config: RunnerConfig, claim: Claim) -> Opened:
    if not claim.is_of(config.job):
        raise _claimed(store, config, claim, "its result is not finished")
    try:
        plan = from_json(store.get(plan_key(claim.work)))
    except NotFound as error:
        raise _claimed(store, config, claim, "its plan is gone") from error
    differing = _differences(plan.spec, identity_of(config))
    if claim.mode != _mode(config):
        differing = (*differing, "output.mode")
    if differing:
        fields = ", ".join(f"spec.{_FIELDS.get(name, name)}" for name in differing)
        raise _claimed(store, config, claim, f"it was started with another {fields}")
    return Opened(plan, claim, complete=None, fresh=False)


def _differences(planned: dict[str, Any], wanted: dict[str, Any]) -> tuple[str, ...]:
    """Name what differs, as `input.filter`."""
    found: list[str] = []
    for name in sorted(planned.keys() | wanted.keys()):
        before, after = planned.get(name), wanted.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            found += (f"{name}.{inner}" for inner in _differences(before, after))
        elif before != after:
            found.append(name)
    return tuple(found)


def _find_foreign(
    sizes: Mapping[str, int], config: RunnerConfig, manifest: Manifest | None
) -> tuple[str, ...]:
    foreign = find_strays(sizes, known=accounted_by(manifest))
    if not foreign and manifest is None and _mode(config) == OutputMode.ERROR_IF_EXISTS:
        return find_visible(sizes)
    return foreign


def _mode(config: RunnerConfig) -> str:
    return config.output.mode.value


def _exists(store: Store, what: str) -> JobFailed:
    return JobFailed(
        Reason.OUTPUT_EXISTS,
        f"{store.uri!r} already holds {what}: use an empty output location, remove what is there, "
        f"or set spec.output.mode to Overwrite or Append (files that no manifest lists are never "
        f"touched)",
    )


def _damaged(store: Store, damage: str, *, is_complete: bool) -> JobFailed:
    what = "the result of this job" if is_complete else "a result that this one is to be added to"
    return JobFailed(
        Reason.OUTPUT_EXISTS,
        f"{store.uri!r} holds {what}, but {damage}: `bij verify OUTPUT` says whether that is all. "
        f"Put back what was written; or use another output location; or set spec.output.mode to "
        f"Overwrite, and this job's rows replace all that is there",
    )


def _claimed(store: Store, config: RunnerConfig, claim: Claim, why: str) -> JobFailed:
    if claim.is_of(config.job):
        owner = "an earlier run of this job"
    else:
        owner = f"job {claim.name!r} in namespace {claim.namespace!r}"
    uid = f" (uid {claim.uid})" if claim.uid else ""
    return JobFailed(
        Reason.OUTPUT_PATH_CLAIMED,
        f"{store.uri!r} is claimed by {owner}{uid}, and {why}; use another output location or, if "
        f"that run will never go on, give its claim {CLAIM!r} up with `bij gc OUTPUT --release`, "
        f"which deletes everything it has committed",
    )
