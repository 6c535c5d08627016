"""Records of what was started, so that retry budgets survive a lost driver.

Before shards are handed out a small object lists them; it is garbage as soon as they are committed.
A driver that starts anew reads the records: shards that were listed first and are not committed may
have been what took the last driver down. They were not if that driver ended by itself, of which it
leaves a record, too.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from batch_inference_runner.commit.layout import work_folder
from batch_inference_runner.commit.outcome import STORE_FAILURES
from batch_inference_runner.storage.store import AlreadyExists, NotFound

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from batch_inference_runner.storage.store import Store

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EarlierAttempts:
    """What drivers that were lost left unfinished.

    `suspects` in order; `kills`: with how many drivers each was lost while it ran alone, since the
    last commit; `drivers`: how many have begun to score, whether or not they were lost.
    """

    suspects: tuple[int, ...]
    kills: dict[int, int]
    drivers: int


@dataclass(frozen=True, slots=True)
class AttemptLog:
    """The records of one generation of a plan (`work`, see commit.layout) in the output store."""

    store: Store
    work: str
    driver: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    """Who writes; another one for each start of a driver."""

    @property
    def _folder(self) -> str:
        return f"{work_folder(self.work)}/attempts"

    def record(
        self, attempt: str, shards: Sequence[int], *, alone: bool, in_work: int, committed: int
    ) -> None:
        """Say that these shards are about to be scored, at most `in_work` at a time.

        `committed` is how many shards of the plan are committed at this moment.
        """
        self._write(attempt, shards=list(shards), alone=alone, inWork=in_work, committed=committed)

    def stop(self) -> None:
        """Say that this driver ends by itself, so that nothing it has in work is to blame.

        If the store takes no record, it will seem to have been lost.
        """
        with suppress(*STORE_FAILURES):
            # Releases that do not know `stopped` find no shard in it.
            nothing = {"shards": [], "alone": False, "inWork": 0, "committed": 0}
            self._write(f"{self.driver}-stopped", **nothing, stopped=True)

    def _write(self, name: str, **record: object) -> None:
        body = json.dumps({"driver": self.driver, **record})
        # Nobody else uses this name: if it is taken, a lost response was ours.
        with suppress(AlreadyExists):
            self.store.create(f"{self._folder}/{name}.json", body.encode())

    def earlier(self, committed: Collection[int]) -> EarlierAttempts:
        """Read what was started and never committed."""
        records = tuple(self._records())
        stopped = {record.driver for record in records if record.stopped}
        begun = [record for record in records if not record.stopped]
        suspects: dict[int, None] = {}
        lost_alone: set[tuple[int, str]] = set()
        for record in begun:
            if record.driver in stopped:
                continue
            unfinished = [shard for shard in record.shards if shard not in committed]
            in_work = unfinished[: record.in_work]
            suspects.update(dict.fromkeys(in_work))
            if record.alone and record.committed == len(committed):
                # A store that fails leaves several records of a driver, and is nobody's fault.
                lost_alone.update((shard, record.driver) for shard in in_work)
        kills = Counter(shard for shard, _ in lost_alone)
        drivers = {record.driver for record in begun}
        return EarlierAttempts(tuple(suspects), dict(kills), len(drivers))

    def _records(self) -> Iterator[_Record]:
        """Read the records; as they are advice, no damaged one is worth a run."""
        for info in self.store.list(self._folder):
            if not info.key.endswith(".json"):
                continue
            try:
                yield _Record.parse(self.store.get(info.key))
            except NotFound:
                continue  # cleaned away meanwhile
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                name = info.key.rpartition("/")[2]
                _logger.warning("a record of attempts is damaged: ignored", extra={"file": name})


class _Record(NamedTuple):
    """What one record says. `stopped`: that its driver has ended by itself, and nothing else."""

    driver: str
    shards: list[int]
    alone: bool
    in_work: int
    committed: int
    stopped: bool

    @classmethod
    def parse(cls, body: bytes) -> _Record:
        """Read the bytes of a record.

        Raises ValueError, KeyError, TypeError, AttributeError or RecursionError for anything else.
        """
        document = json.loads(body)
        record = cls(
            document.get("driver", ""),
            document["shards"],
            document["alone"],
            document["inWork"],
            document["committed"],
            document.get("stopped", False),
        )
        kinds = [type(value) for value in (*record, *record.shards)]
        if kinds != [str, list, bool, int, int, bool, *[int] * len(record.shards)]:
            raise TypeError(f"{document!r} is no record of attempts")
        return record
