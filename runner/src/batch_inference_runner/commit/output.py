"""One output location, as the driver sees it: open, commit shards, finalize.

output = Output.open(store, config, make_plan)
unless output.complete:
    done = output.committed()                resume: what earlier drivers have committed
    output.commit([staged, ...])             from any thread, as attempts end
manifest = output.finalize(run={...})
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from batch_inference_api.choices import OutputMode
from batch_inference_api.reasons import Reason
from batch_inference_runner.commit.finalize import Result, write_success
from batch_inference_runner.commit.garbage import clean_after_success
from batch_inference_runner.commit.layout import part_stem
from batch_inference_runner.commit.marker import commit_shards, find_markers, read_markers
from batch_inference_runner.commit.opening import open_location
from batch_inference_runner.commit.outcome import STORE_FAILURES, run_errors
from batch_inference_runner.commit.publish import check_kept, publish_all
from batch_inference_runner.commit.staged import REPORT_IT, imbalance_of
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batch_inference_api.runner_contract import RunnerConfig
    from batch_inference_runner.commit.manifest import Manifest
    from batch_inference_runner.commit.opening import Opened
    from batch_inference_runner.commit.staged import StagedShard
    from batch_inference_runner.plan.plan import Plan
    from batch_inference_runner.storage.store import Store

_logger = logging.getLogger(__name__)


class Output:
    """An output location that this driver may write to. Made by `Output.open`."""

    def __init__(self, store: Store, config: RunnerConfig, opened: Opened) -> None:
        self.plan: Plan = opened.plan
        self.complete: Manifest | None = opened.complete
        """The manifest, if an equal plan has finished here already: `finalize` cleans up."""
        self.resumed = opened.complete is None and not opened.fresh
        """Whether this driver goes on with a plan that an earlier one has made."""
        self.work: str = opened.claim.work if opened.claim else opened.plan.hash
        """What scorers put into staging keys and file names, in the place of the plan's hash."""
        self._store = store
        self._format = config.output.format.value
        self._claim = opened.claim
        self._fresh = opened.fresh
        self._winners: dict[int, StagedShard] = {}
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls,
        store: Store,
        config: RunnerConfig,
        make_plan: Callable[[], Plan],
        *,
        begin_plan: Callable[[], object] = lambda: None,
    ) -> Output:
        """Settle whose turn it is at the location; plan only if nobody has planned yet.

        `begin_plan` is called as soon as it is clear that `make_plan` will be, unless the location
        cannot be used: a plan takes longer than all that is asked of the location before.

        Raises JobFailed(OutputExists, OutputPathClaimed, OutputStoreUnsafe, VersionSkew,
        AccessDenied, OutputVolumeFull), Unavailable, and whatever `begin_plan` and `make_plan`
        raise.
        """
        with run_errors(f"opening the output {store.uri!r}", missing=Reason.INVALID_SPEC):
            return cls(store, config, open_location(store, config, make_plan, begin_plan))

    def committed(self) -> dict[int, StagedShard]:
        """Return, by shard, what is committed already, by whichever driver.

        Raises JobFailed(OutputPathClaimed) if a file of it is gone, before more is spent on a
        result that cannot be finished; JobFailed(VersionSkew, AccessDenied) and Unavailable.
        """
        if not self._fresh:
            with run_errors(f"reading what is committed in {self._store.uri!r}"):
                shards = [shard.number for shard in self.plan.shards]
                found = find_markers(self._store, self.work, shards)
                if self._claim is not None and self.complete is None:
                    files = [file for shard in found.values() for file in shard.files]
                    check_kept(self._store, files, self._claim)
            with self._lock:
                self._winners.update(found)
        with self._lock:
            return dict(self._winners)

    def commit(self, staged: Sequence[StagedShard]) -> tuple[StagedShard, ...]:
        """Commit attempts at different shards; return for each the attempt that has won.

        With ErrorIfExists the winners are published at once. Thread-safe. Groups are cheaper than
        single shards.

        Raises JobFailed(RowCountMismatch, AccessDenied, OutputVolumeFull) and Unavailable. What
        was committed before the error stays committed.
        """
        for shard in staged:
            self._check(shard)
        with run_errors(f"committing to {self._store.uri!r}"):
            winners = commit_shards(self._store, self.work, staged)
            with self._lock:
                self._winners.update(winners)
            if self._claim is not None and self._claim.mode == OutputMode.ERROR_IF_EXISTS:
                files = [file for winner in winners.values() for file in winner.files]
                publish_all(self._store, files, self._claim)
        self._drop_losers(staged, winners)
        return tuple(winners[shard.shard] for shard in staged)

    def finalize(
        self, *, run: dict[str, Any], on_success: Callable[[Manifest], None] | None = None
    ) -> Manifest:
        """Publish what is missing, check all sums, write `_SUCCESS`, clean; return the manifest.

        Args:
            run: recorded as it is (timings, versions).
            on_success: told of the manifest once the result stands, before anything is cleaned.

        Raises JobFailed(RowCountMismatch, OutputExists, OutputPathClaimed) and Unavailable. Errors
        after `_SUCCESS` are logged only.
        """
        manifest = self.complete = self.complete or self._write_success(run)
        if on_success is not None:
            on_success(manifest)
        # If it was complete before: an earlier driver may have died between `_SUCCESS` and this.
        self._clean(manifest)
        return manifest

    def _write_success(self, run: dict[str, Any]) -> Manifest:
        if self._claim is None:
            raise RuntimeError("an output that is not complete always has a claim")
        with run_errors(f"finalizing {self._store.uri!r}"):
            missing = [s.number for s in self.plan.shards if s.number not in self._winners]
            self._winners.update(read_markers(self._store, self.work, missing))
            result = Result(self.plan, self._claim, self._format, dict(self._winners), run)
            return write_success(self._store, result)

    def _check(self, staged: StagedShard) -> None:
        shards = self.plan.shards
        if not 0 <= staged.shard < len(shards):
            raise ValueError(f"shard {staged.shard} is not in the plan")
        stem = part_stem(staged.shard, self.work)
        for file in staged.files:
            if not file.path.rpartition("/")[2].startswith(stem):
                raise ValueError(f"{file.path!r} is not named {stem!r}: name files by Output.work")
        problem = imbalance_of(staged, shards[staged.shard].rows)
        if problem:
            raise JobFailed(Reason.ROW_COUNT_MISMATCH, f"{problem}; {REPORT_IT}")

    def _drop_losers(self, staged: Sequence[StagedShard], winners: dict[int, StagedShard]) -> None:
        """Delete what lost; their markers were read, so it can win no more."""
        lost = [
            file.staged_key
            for shard in staged
            if winners[shard.shard].attempt != shard.attempt
            for file in shard.files
        ]
        if lost:
            self._quietly(lambda: self._store.delete(lost))

    def _clean(self, manifest: Manifest) -> None:
        self._quietly(lambda: clean_after_success(self._store, self.work, manifest))

    def _quietly(self, cleaning: Callable[[], None]) -> None:
        try:
            cleaning()
        except STORE_FAILURES as error:
            _logger.warning(
                "cleaning failed; `bij gc` can do it later", extra={"error": redact(str(error))}
            )
