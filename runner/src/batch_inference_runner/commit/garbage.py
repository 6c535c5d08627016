"""What may be deleted, and when.

After `_SUCCESS` a driver deletes the staging of its own and of earlier generations, then
(Overwrite) the files of the result it replaced. In this order, because a zombie of the earlier job
could publish from staging what was deleted before. Markers stay, so that zombies lose (see
marker.py); those of a generation go when the next but one has finished.

`collect` is for people, when nothing that writes to the location is alive: it deletes everything
but claim, plan and result, and can give an unfinished claim up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_runner.commit.claim import read_claim, release_claim
from batch_inference_runner.commit.foreign import list_sizes
from batch_inference_runner.commit.layout import (
    CLAIM,
    INTERNAL,
    is_part,
    plan_key,
    stage_folder,
    work_folder,
)
from batch_inference_runner.commit.manifest import Manifest, read_manifest
from batch_inference_runner.commit.opening import is_finished
from batch_inference_runner.commit.outcome import run_errors
from batch_inference_runner.errors import InvalidJob, JobFailed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batch_inference_runner.commit.claim import Claim
    from batch_inference_runner.storage.store import Store


def clean_after_success(store: Store, work: str, manifest: Manifest) -> None:
    """Delete what a finished generation needs no more. Raises the store's exceptions."""
    for earlier in dict.fromkeys((work, *manifest.earlier)):
        store.delete([info.key for info in store.list(stage_folder(earlier))])
    store.delete([key for key in manifest.replaced if key not in manifest.paths])
    for outdated in manifest.earlier[:-1]:
        store.delete([info.key for info in store.list(work_folder(outdated))])


def collect(store: Store, *, release: bool = False) -> tuple[str, ...]:
    """Delete garbage; with `release`, give an unfinished claim up. Return the deleted keys.

    Only for locations to which nothing writes at the moment. Of an unfinished job everything is
    kept, unless it is released: then its markers, staging and published files go too.

    Raises InvalidJob where no job has ever written, JobFailed and Unavailable.
    """
    with run_errors(f"cleaning {store.uri!r}"):
        held = read_claim(store)
        success = read_manifest(store)
        manifest = success[0] if success else None
        if held is None and manifest is None and not _internal(store, keep=frozenset()):
            raise InvalidJob(
                Reason.INVALID_SPEC,
                f"there is nothing of a job in {store.uri!r}: name the location that a job wrote "
                "to, as in its spec.output.storageUri",
            )
        unfinished = held is not None and not is_finished(held[0], manifest)
        if held and unfinished and not held[0].released:
            if not release:
                return _collect_around(store, held[0])
            if not release_claim(store, held[0], version=held[1]):
                raise JobFailed(
                    Reason.OUTPUT_PATH_CLAIMED,
                    f"{store.uri!r} is in use: its claim has just changed hands; try again when "
                    f"nothing writes there",
                )
            held = read_claim(store)
        garbage = [*_internal(store, keep=_kept(held[0] if held else None))]
        if held and unfinished:
            garbage += _unlisted_parts(store, held[0], manifest)
        if manifest:
            garbage += _replaced(store, manifest)
        return _deleted(store, garbage)


def _collect_around(store: Store, claim: Claim) -> tuple[str, ...]:
    """Leave alone what an unfinished job, and the drivers it may still have, could need."""
    own = work_folder(claim.work) + "/"
    keys = _internal(store, keep=_kept(claim))
    return _deleted(store, [key for key in keys if not key.startswith(own)])


def _kept(claim: Claim | None) -> frozenset[str]:
    plans = [] if claim is None or claim.released else [plan_key(claim.work)]
    return frozenset((CLAIM, *plans))


def _internal(store: Store, *, keep: frozenset[str]) -> tuple[str, ...]:
    return tuple(info.key for info in store.list(INTERNAL) if info.key not in keep)


def _unlisted_parts(store: Store, claim: Claim, manifest: Manifest | None) -> list[str]:
    listed = manifest.paths if manifest else frozenset[str]()
    own = f"-{claim.work[:8]}"
    return [
        key
        for key in list_sizes(store)
        if is_part(key) and own in key.rpartition("/")[2] and key not in listed
    ]


def _replaced(store: Store, manifest: Manifest) -> list[str]:
    present = list_sizes(store)
    return [key for key in manifest.replaced if key in present and key not in manifest.paths]


def _deleted(store: Store, keys: Iterable[str]) -> tuple[str, ...]:
    garbage = tuple(keys)
    store.delete(garbage)
    return garbage
