"""Records of what was started, so that retry budgets survive a lost driver.

Before shards are handed out a small object lists them; it is garbage as soon as they are committed.
A driver that starts anew reads the records: shards that were listed first and are not committed may
have been what took the last driver down.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batch_inference_runner.commit.layout import work_folder
from batch_inference_runner.storage.store import AlreadyExists

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from batch_inference_runner.storage.store import Store


@dataclass(frozen=True, slots=True)
class EarlierAttempts:
    """What earlier drivers left unfinished.

    `suspects` in order; `kills`: with how many drivers each was lost while it ran alone, since the
    last commit; `drivers`: how many have begun to score.
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
        record = {
            "driver": self.driver,
            "shards": list(shards),
            "alone": alone,
            "inWork": in_work,
            "committed": committed,
        }
        body = json.dumps(record)
        # Nobody else uses this attempt's key: if it is taken, a lost response was ours.
        with suppress(AlreadyExists):
            self.store.create(f"{self._folder}/{attempt}.json", body.encode())

    def earlier(self, committed: Collection[int]) -> EarlierAttempts:
        """Read what was started and never committed."""
        suspects: dict[int, None] = {}
        lost_alone: set[tuple[int, str]] = set()
        drivers: set[str] = set()
        for info in self.store.list(self._folder):
            record = json.loads(self.store.get(info.key))
            drivers.add(record.get("driver", ""))
            unfinished = [shard for shard in record["shards"] if shard not in committed]
            in_work = unfinished[: record["inWork"]]
            suspects.update(dict.fromkeys(in_work))
            if record["alone"] and record["committed"] == len(committed):
                # A store that fails leaves several records of a driver, and is nobody's fault.
                lost_alone.update((shard, record.get("driver", "")) for shard in in_work)
        kills = Counter(shard for shard, _ in lost_alone)
        return EarlierAttempts(tuple(suspects), dict(kills), len(drivers))
