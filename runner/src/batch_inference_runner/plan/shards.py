"""Which units of which files form which shard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_runner.plan.plan import Piece, Shard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch_inference_runner.plan.plan import FileInventory, Unit

# Opening a file costs about as much as reading a megabyte, so a shard of tiny files stays below a
# few hundred of them: otherwise 10^5 files of one kilobyte would be one shard, read one by one.
_OPEN_COST_BYTES = 1024 * 1024
_MOST_FILES_A_SHARD = 256


def cut(
    inventories: Sequence[FileInventory],
    *,
    target_rows: int,
    target_bytes: int,
    max_shards: int,
) -> tuple[Shard, ...]:
    """Cut the files into shards that tile their units, in order.

    A shard ends before the unit that would take it above `target_rows` or `target_bytes`
    (uncompressed or not, as the inventory counts them), so only a shard of a single unit can be
    larger than the targets. Both targets grow until there are at most `max_shards`. A dataset
    without units gives one shard without pieces, whose output is an empty file with the schema.
    Pure: the same arguments give the same shards.
    """
    units = sum(len(inventory.units) for inventory in inventories)
    if min(target_rows, target_bytes, max_shards) < 1:
        raise ValueError("targets and max_shards must be at least 1")
    while True:
        pieces = _grouped(inventories, target_rows, target_bytes)
        if len(pieces) <= max_shards or units <= 1:
            return tuple(Shard(number, shard) for number, shard in enumerate(pieces))
        growth = max(2, len(pieces) // max_shards)
        target_rows, target_bytes = target_rows * growth, target_bytes * growth


def _grouped(
    inventories: Sequence[FileInventory], target_rows: int, target_bytes: int
) -> list[tuple[Piece, ...]]:
    packer = _Packer(target_rows, target_bytes)
    for file, inventory in enumerate(inventories):
        first_row: int | None = 0
        for unit in inventory.units:
            packer.add(file, unit, first_row)
            known = first_row is not None and unit.rows is not None
            first_row = (first_row or 0) + (unit.rows or 0) if known else None
    return packer.finish()


class _Packer:
    """Fills one shard after the other."""

    def __init__(self, target_rows: int, target_bytes: int) -> None:
        self._target_rows = target_rows
        self._target_bytes = target_bytes
        self._open_cost = min(_OPEN_COST_BYTES, target_bytes // _MOST_FILES_A_SHARD)
        self._shards: list[tuple[Piece, ...]] = []
        self._pieces: list[_Growing] = []
        self._rows = self._cost = 0

    def add(self, file: int, unit: Unit, first_row: int | None) -> None:
        """Take the next unit, of this file or of the one after."""
        rows = unit.rows or 0
        opened = bool(self._pieces) and self._pieces[-1].file == file
        cost = unit.bytes + (0 if opened else self._open_cost)
        above_rows = self._rows + rows > self._target_rows
        if self._pieces and (above_rows or self._cost + cost > self._target_bytes):
            self._close()
            opened, cost = False, unit.bytes + self._open_cost
        if not opened:
            self._pieces.append(_Growing(file, unit.start, first_row))
        self._pieces[-1].extend(unit)
        self._rows += rows
        self._cost += cost

    def finish(self) -> list[tuple[Piece, ...]]:
        """Return the pieces of every shard; at least one shard, which may have none."""
        if self._pieces or not self._shards:
            self._close()
        return self._shards

    def _close(self) -> None:
        self._shards.append(tuple(piece.freeze() for piece in self._pieces))
        self._pieces = []
        self._rows = self._cost = 0


class _Growing:
    """Consecutive units of one file, still growing."""

    __slots__ = ("file", "first_row", "rows", "start", "stop")

    def __init__(self, file: int, start: int, first_row: int | None) -> None:
        self.file = file
        self.start = self.stop = start
        self.first_row = first_row
        self.rows = None if first_row is None else 0

    def extend(self, unit: Unit) -> None:
        self.stop = unit.stop
        self.rows = None if self.rows is None or unit.rows is None else self.rows + unit.rows

    def freeze(self) -> Piece:
        first_row = None if self.rows is None else self.first_row
        return Piece(self.file, self.start, self.stop, first_row, self.rows)
