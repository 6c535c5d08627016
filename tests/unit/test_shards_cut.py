"""Cutting units into shards: a pure function, so mostly properties."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batch_inference_runner.plan.plan import FileInventory, Unit
from batch_inference_runner.plan.shards import cut

MIB = 1024 * 1024


def make_row_groups(*rows: int, row_bytes: int = 100) -> FileInventory:
    return FileInventory(
        tuple(Unit(index, index + 1, count * row_bytes, count) for index, count in enumerate(rows))
    )


def make_byte_ranges(*sizes: int) -> FileInventory:
    units, start = [], 0
    for size in sizes:
        units.append(Unit(start, start + size, size))
        start += size
    return FileInventory(tuple(units))


def cut_with(inventories, *, rows=1_000_000, size=256 * MIB, shards=100_000):
    return cut(inventories, target_rows=rows, target_bytes=size, max_shards=shards)


tables = st.lists(st.lists(st.integers(0, 50), max_size=6).map(lambda r: make_row_groups(*r)))
texts = st.lists(st.lists(st.integers(1, 5000), max_size=6).map(lambda r: make_byte_ranges(*r)))


@given(st.one_of(tables, texts), st.integers(1, 120), st.integers(1, 9000), st.integers(1, 40))
def test_every_unit_is_in_exactly_one_shard_and_in_order(inventories, rows, size, shards):
    planned = cut_with(inventories, rows=rows, size=size, shards=shards)
    covered = []
    for piece in (piece for shard in planned for piece in shard.pieces):
        inside = [
            unit
            for unit in inventories[piece.file].units
            if piece.start <= unit.start and unit.stop <= piece.stop
        ]
        assert (inside[0].start, inside[-1].stop) == (piece.start, piece.stop)
        covered += [(piece.file, unit.start) for unit in inside]
    assert covered == [
        (file, unit.start) for file, inv in enumerate(inventories) for unit in inv.units
    ]
    assert [shard.number for shard in planned] == list(range(len(planned)))
    assert len(planned) <= max(shards, 1)


@given(tables, st.integers(1, 120))
def test_first_rows_count_from_the_start_of_the_file(inventories, rows):
    next_row = dict.fromkeys(range(len(inventories)), 0)
    for shard in cut_with(inventories, rows=rows):
        for piece in shard.pieces:
            assert piece.first_row == next_row[piece.file]
            next_row[piece.file] += piece.rows
    assert next_row == {
        file: sum(unit.rows for unit in inv.units) for file, inv in enumerate(inventories)
    }


@given(tables, st.integers(1, 120), st.integers(1, 9000))
def test_only_a_shard_of_one_unit_is_larger_than_the_targets(inventories, rows, size):
    for shard in cut_with(inventories, rows=rows, size=size):
        units = [
            unit
            for piece in shard.pieces
            for unit in inventories[piece.file].units[piece.start : piece.stop]
        ]
        if len(units) > 1:
            assert sum(unit.rows for unit in units) <= rows
            assert sum(unit.bytes for unit in units) <= size


def test_a_dataset_without_units_is_one_shard_without_pieces():
    (shard,) = cut_with([FileInventory(()), FileInventory(())])
    assert shard.pieces == ()
    assert shard.rows == 0
    assert len(cut_with([])) == 1


def test_a_hundred_thousand_tiny_files_are_a_few_hundred_shards():
    planned = cut_with([make_row_groups(10)] * 100_000)
    assert 390 <= len(planned) <= 400
    assert max(len(shard.pieces) for shard in planned) <= 256


def test_a_large_row_group_is_a_shard_by_itself():
    planned = cut_with([make_row_groups(10, 5000, 10)], rows=100)
    assert [shard.rows for shard in planned] == [10, 5000, 10]


def test_rows_are_unknown_for_byte_ranges():
    (shard,) = cut_with([make_byte_ranges(100, 200)])
    assert shard.rows is None
    assert shard.pieces[0].first_row is None


def test_the_byte_target_ends_a_shard_before_the_row_target():
    planned = cut_with([make_row_groups(*[10] * 4)], rows=1000, size=2008)
    assert [shard.rows for shard in planned] == [20, 20]


def test_targets_grow_when_there_would_be_too_many_shards():
    planned = cut_with([make_row_groups(*[10] * 100)], rows=10, shards=7)
    assert len(planned) <= 7
    assert sum(shard.rows for shard in planned) == 1000
