"""What an attempt at a shard has left in staging: the values that a commit marker holds.

Tuples, because a resumed job reads a hundred thousand of them before it can go on, and a frozen
dataclass costs several times as much to make.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from batch_inference_api.choices import MAX_SAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_Sample = TypeVar("_Sample")

SAMPLE_KIND = ("stage", "error", "message")
"""The fields of a sample that say why its row was rejected."""

GIVEN_UP = "givenUp"
"""Key in `StagedShard.runtime`: why the shard was given up, its rows rejected unread."""

REPORT_IT = (
    "nothing of it is published; check that nobody writes to the input, else report this as a bug"
)


class StagedFile(NamedTuple):
    """One staged object; `path` is the key under which it will be published."""

    staged_key: str
    path: str
    kind: Literal["part", "rejects"]
    size: int
    sha256: str
    rows: int


class StagedShard(NamedTuple):
    """One attempt at one shard, complete.

    `attempt` was minted once and is never used again. `runtime` records versions and provider,
    `samples` what `choose_samples` left of the rejected rows, without their values.
    """

    shard: int
    attempt: str
    files: tuple[StagedFile, ...]
    rows_read: int
    rows_written: int
    rows_rejected: int
    rows_filtered: int
    runtime: dict[str, str]
    samples: tuple[dict[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            **self._asdict(),
            "files": [file._asdict() for file in self.files],
            "samples": list(self.samples),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> StagedShard:
        """Read what `to_json` gave. Raises KeyError or TypeError for anything else."""
        return cls(
            shard=document["shard"],
            attempt=document["attempt"],
            files=tuple([StagedFile(**file) for file in document["files"]]),
            rows_read=document["rows_read"],
            rows_written=document["rows_written"],
            rows_rejected=document["rows_rejected"],
            rows_filtered=document["rows_filtered"],
            runtime=document["runtime"],
            samples=tuple(document["samples"]),
        )


def choose_samples(samples: Sequence[_Sample], kind_of: Callable[[_Sample], Any]) -> list[_Sample]:
    """Choose up to 20 samples, of as many kinds as there are, and keep them in their order."""
    firsts: dict[Any, int] = {}
    for place, sample in enumerate(samples):
        firsts.setdefault(kind_of(sample), place)
    first_ones = set(firsts.values())
    preferred = sorted(range(len(samples)), key=lambda place: place not in first_ones)
    return [samples[place] for place in sorted(preferred[:MAX_SAMPLES])]


def imbalance_of(staged: StagedShard, planned: int | None) -> str | None:
    """Say what does not add up in a shard's counts; None if all does.

    `planned` are the rows that the plan gives the shard, None where it cannot know. Rejected rows
    need no file (they may be skipped by policy), but a file must hold all of them.
    """
    name = f"shard {staged.shard}"
    accounted = staged.rows_written + staged.rows_rejected + staged.rows_filtered
    if staged.rows_read != accounted:
        return f"{name}: {staged.rows_read} rows were read, but {accounted} accounted for"
    if planned is not None and staged.rows_read != planned:
        return f"{name}: {planned} rows were planned, but {staged.rows_read} were read"
    in_parts = sum(file.rows for file in staged.files if file.kind == "part")
    if in_parts != staged.rows_written:
        return f"{name}: {staged.rows_written} rows were written, but its files hold {in_parts}"
    rejects = [file.rows for file in staged.files if file.kind == "rejects"]
    if rejects and sum(rejects) != staged.rows_rejected:
        return f"{name}: {staged.rows_rejected} rows were rejected, its files hold {sum(rejects)}"
    return None
