"""Records of what was started, so that retry budgets survive a lost driver.

Before shards are handed out a small object lists them; it is garbage as soon as they are committed.
A driver that starts anew reads the records: shards that were listed first and are not committed may
have been what took the last driver down. They were not if that driver ended by itself, of which it
leaves a record, too.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batch_inference_runner.commit.layout import work_folder
from batch_inference_runner.commit.outcome import STORE_FAILURES
from batch_inference_runner.storage.store import AlreadyExists

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from batch_inference_runner.storage.store import Store


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
        records = [json.loads(self.store.get(info.key)) for info in self.store.list(self._folder)]
        stopped = {record["driver"] for record in records if record.get("stopped")}
        begun = [record for record in records if not record.get("stopped")]
        suspects: dict[int, None] = {}
        lost_alone: set[tuple[int, str]] = set()
        for record in begun:
            driver = record.get("driver", "")
            if driver in stopped:
                continue
            unfinished = [shard for shard in record["shards"] if shard not in committed]
            in_work = unfinished[: record["inWork"]]
            suspects.update(dict.fromkeys(in_work))
            if record["alone"] and record["committed"] == len(committed):
                # A store that fails leaves several records of a driver, and is nobody's fault.
                lost_alone.update((shard, driver) for shard in in_work)
        kills = Counter(shard for shard, _ in lost_alone)
        drivers = {record.get("driver", "") for record in begun}
        return EarlierAttempts(tuple(suspects), dict(kills), len(drivers))
