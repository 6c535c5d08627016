"""The plan: what is read, with which model, cut into which shards; and its hash.

Named tuples, because they are defined faster (see `score.messages`).
"""

from __future__ import annotations

from typing import Any, NamedTuple


class InputFile(NamedTuple):
    """One file of the dataset, pinned.

    `uri` names it for people and in the manifest. `version` is an ETag or, on a file system,
    `<mtime_ns>`; a read must fail with InputChanged when size or version differ.
    `partition_values` are the hive `key=value` folders above it, in path order.
    """

    uri: str
    size: int
    version: str
    location: int
    """Index into the config's input.locations, for credentials."""
    partition_values: tuple[tuple[str, str], ...] = ()


class Unit(NamedTuple):
    """The smallest part of a file that a shard can hold.

    Parquet: a row group; Arrow: a record batch; [start, stop) are ordinals, stop = start + 1.
    Text: a byte range [start, stop). `rows` is None for text.
    """

    start: int
    stop: int
    bytes: int
    rows: int | None = None


class FileInventory(NamedTuple):
    """What inspection found in one file: units that tile it, in order."""

    units: tuple[Unit, ...]


class Piece(NamedTuple):
    """A run of consecutive units of one file. `first_row` and `rows` are None for text."""

    file: int
    start: int
    stop: int
    first_row: int | None = None
    rows: int | None = None


class Shard(NamedTuple):
    """The unit of retry and of commit."""

    number: int
    pieces: tuple[Piece, ...]

    @property
    def rows(self) -> int | None:
        """Rows planned, None where the format cannot tell before reading."""
        counts = [piece.rows for piece in self.pieces]
        return None if None in counts else sum(count or 0 for count in counts)


class Plan(NamedTuple):
    """Everything that decides which bytes come out, but versions of libraries.

    `hash` is the sha256 (hex) of the plan's canonical form (see plan.document). `spec` holds the
    identity part of the RunnerConfig (`identity_of`), `details` what inspection resolved: input
    schema, model digest, signature, output schema.
    """

    hash: str
    spec: dict[str, Any]
    details: dict[str, Any]
    files: tuple[InputFile, ...]
    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int | None:
        """Rows planned; None for text formats."""
        counts = [shard.rows for shard in self.shards]
        return None if None in counts else sum(count or 0 for count in counts)
