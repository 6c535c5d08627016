"""The last step: everything published, everything adds up, then `_SUCCESS`.

`_SUCCESS` is created exclusively, or (Overwrite, Append) replaced if it still is the version that
was read, so of several drivers that finalize at once one writes it and the others adopt it. Until
then nothing of an earlier result is deleted. While Overwrite or Append finalizes, and after a
crash right behind `_SUCCESS` until the job or `bij gc` runs again, only readers of the manifest
are exact: a `part-*` glob sees old files beside new ones.

A driver that wakes up after all is over finds `_SUCCESS` of its own generation and adopts it, or
one of a later generation and gives up. It cannot change the result: markers are kept, so it loses
every commit; names carry the generation, so what it publishes or deletes is never a later result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from batch_inference_api.choices import OutputMode
from batch_inference_api.reasons import Reason
from batch_inference_runner.commit.claim import check_held, claim_lost
from batch_inference_runner.commit.exclusive import create_or_read, replace_or_read
from batch_inference_runner.commit.foreign import accounted_by, find_strays, list_sizes, shown
from batch_inference_runner.commit.layout import SUCCESS
from batch_inference_runner.commit.manifest import (
    Manifest,
    ManifestFile,
    RowTotals,
    body_of,
    parse_manifest,
    read_manifest,
)
from batch_inference_runner.commit.publish import check_sizes, publish_all
from batch_inference_runner.commit.staged import REPORT_IT, imbalance_of
from batch_inference_runner.errors import JobFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batch_inference_runner.commit.claim import Claim
    from batch_inference_runner.commit.staged import StagedFile, StagedShard
    from batch_inference_runner.plan.plan import Plan
    from batch_inference_runner.storage.store import Store


_EARLIER_KEPT = 8


@dataclass(frozen=True, slots=True)
class Result:
    """What was committed for a plan, ready to become a manifest."""

    plan: Plan
    claim: Claim
    format: str
    shards: Mapping[int, StagedShard]
    """By index: one committed attempt for every shard of the plan."""
    run: dict[str, Any]

    @property
    def files(self) -> tuple[StagedFile, ...]:
        """All files, in the order of the shards."""
        return tuple(file for _, shard in sorted(self.shards.items()) for file in shard.files)


def write_success(store: Store, result: Result) -> Manifest:
    """Publish what is missing, check everything, write `_SUCCESS`; or adopt an equal one.

    Raises JobFailed(RowCountMismatch, OutputExists, OutputPathClaimed) and the store's exceptions.
    """
    success = read_manifest(store)
    adopted = _adopted(store, success[0] if success else None, result.claim)
    if adopted is not None:
        return adopted
    check_held(store, result.claim)
    _check_rows(result)
    previous = success[0] if success else None
    _publish_missing(store, result, previous)
    manifest = _manifest_of(result, previous)
    body = body_of(manifest)
    if success is None:
        stored = create_or_read(store, SUCCESS, body)
    elif result.claim.mode == OutputMode.ERROR_IF_EXISTS:
        raise claim_lost(store, "it got a result in the meantime")
    else:
        stored = replace_or_read(store, SUCCESS, body, version=success[1])
    if stored == body:
        return manifest
    other = _adopted(store, parse_manifest(store, stored), result.claim)
    if other is None:
        raise claim_lost(store, "its manifest was replaced by somebody else")
    return other


def _adopted(store: Store, found: Manifest | None, claim: Claim) -> Manifest | None:
    if found is None or found.generation < claim.generation:
        return None
    if (found.generation, found.plan_hash) == (claim.generation, claim.plan_hash):
        return found
    raise claim_lost(store, f"it holds a later result, of job {found.job.get('name')!r}")


def _check_rows(result: Result) -> None:
    missing = [shard.number for shard in result.plan.shards if shard.number not in result.shards]
    if missing:
        raise JobFailed(
            Reason.ROW_COUNT_MISMATCH,
            f"{len(missing)} of {len(result.plan.shards)} shards are not committed, the first is "
            f"{missing[0]}: run again to score them",
        )
    for shard in result.plan.shards:
        problem = imbalance_of(result.shards[shard.number], shard.rows)
        if problem:
            raise JobFailed(Reason.ROW_COUNT_MISMATCH, f"{problem}; {REPORT_IT}")


def _publish_missing(store: Store, result: Result, previous: Manifest | None) -> None:
    files = result.files
    sizes = list_sizes(store)
    missing = [file for file in files if file.path not in sizes]
    if missing:
        publish_all(store, missing, result.claim)
        sizes = list_sizes(store)
    known = accounted_by(previous) | {file.path for file in files}
    strays = find_strays(sizes, known=known)
    if strays:
        raise JobFailed(
            Reason.OUTPUT_EXISTS,
            f"{store.uri!r} holds {shown(strays)}, which this job did not write and readers would "
            f"take for results: remove them and run again; nothing is scored twice",
        )
    check_sizes(store, files, sizes)
    # The bytes are durable since their shard was committed; one file a folder syncs its names.
    store.sync({file.path.rpartition("/")[0]: file.path for file in files}.values())


def _manifest_of(result: Result, previous: Manifest | None) -> Manifest:
    shards = [shard for _, shard in sorted(result.shards.items())]
    counts = sum((_totals(shard) for shard in shards), RowTotals())
    manifest = Manifest(
        job={
            "namespace": result.claim.namespace,
            "name": result.claim.name,
            "uid": result.claim.uid,
        },
        plan_hash=result.plan.hash,
        plans=(result.plan.hash,),
        generation=result.claim.generation,
        mode=result.claim.mode,
        format=result.format,
        files=_listed(shards, "part"),
        rejects=_listed(shards, "rejects"),
        counts=counts,
        plan_counts={result.plan.hash: counts},
        inputs=tuple(
            {"uri": file.uri, "size": file.size, "version": file.version}
            for file in result.plan.files
        ),
        details=result.plan.details,
        runtimes=_distinct_runtimes(shards),
        run=result.run,
    )
    if previous is None:
        return manifest
    manifest = replace(manifest, earlier=(*previous.earlier, previous.work)[-_EARLIER_KEPT:])
    if result.claim.mode != OutputMode.APPEND:
        return replace(manifest, replaced=tuple(sorted(accounted_by(previous) - manifest.paths)))
    return replace(
        manifest,
        plans=(*previous.plans, *manifest.plans),
        files=(*previous.files, *manifest.files),
        rejects=(*previous.rejects, *manifest.rejects),
        counts=previous.counts + manifest.counts,
        plan_counts={**previous.plan_counts, **manifest.plan_counts},
        replaced=previous.replaced,
    )


def _listed(shards: Sequence[StagedShard], kind: str) -> tuple[ManifestFile, ...]:
    return tuple(
        ManifestFile(file.path, file.rows, file.size, file.sha256, shard.shard)
        for shard in shards
        for file in shard.files
        if file.kind == kind
    )


def _totals(shard: StagedShard) -> RowTotals:
    return RowTotals(shard.rows_read, shard.rows_written, shard.rows_rejected, shard.rows_filtered)


def _distinct_runtimes(shards: Sequence[StagedShard]) -> tuple[dict[str, str], ...]:
    """Return the runtimes that scored shards, each once; times of single shards are left out."""
    distinct = {
        tuple(sorted((key, value) for key, value in shard.runtime.items() if key != "seconds"))
        for shard in shards
    }
    return tuple(dict(items) for items in sorted(distinct))
