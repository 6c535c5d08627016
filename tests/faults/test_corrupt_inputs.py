"""Damaged Parquet and Arrow files: every planned row is read or reported, or the file is refused.

The damaged files are read in a child process, as a scorer is one: whatever native code makes of
them, the parent lives and knows.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

READ_ALL = """
import json, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from batch_inference_api.choices import DataFormat
from batch_inference_runner.errors import InvalidJob
from testkit.datasets import Dataset, open_local, open_remote, pinned, positions_of, rejected, whole

name, original, seed, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
import random
body = original.read_bytes()
for number in range(seed, seed + count):
    random.seed(number)
    changed = bytearray(body)
    if number % 10 == 0:
        changed = changed[: random.randrange(len(body))]
    else:
        for _ in range(random.choice((1, 1, 2, 8))):
            changed[random.randrange(len(body))] = random.randrange(256)
    path = original.with_name(f"changed-{{number}}")
    path.write_bytes(changed)
    open_file = (open_local, open_remote)[number % 2]
    dataset = Dataset((pinned(path),), DataFormat(name), open_file=open_file)
    print(json.dumps([number, "started"]), flush=True)
    try:
        found = dataset.inspect()
        shard = whole(found.inventories)
        planned = sum(unit.rows for unit in found.inventories[0].units)
        positions = []
        for chunk in dataset.read(inspection=found, shard=shard) if shard.pieces else ():
            chunk.table.validate(full=True)
            positions += positions_of([chunk]) + [place for place, _ in rejected([chunk])]
        complete = sorted(positions) == list(range(planned))
        outcome = "whole" if complete else f"{{len(positions)}} of {{planned}}"
    except InvalidJob as refused:
        outcome = str(refused.reason)
    except MemoryError:
        outcome = "MemoryError"
    print(json.dumps([number, outcome]), flush=True)
    path.unlink()
"""


def outcomes(tmp_path, original, *, name, count):
    """What became of each mutation; `crashed` for one that took the child with it."""
    from pathlib import Path

    script = tmp_path / "read_all.py"
    script.write_text(READ_ALL.format(tests=str(Path(__file__).parents[1])))
    found: dict[int, str] = {}
    seed = 0
    while seed < count:
        child = subprocess.run(
            [sys.executable, str(script), name, str(original), str(seed), str(count - seed)],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        for line in child.stdout.splitlines():
            number, outcome = json.loads(line)
            found[number] = outcome
        if child.returncode > 0:
            pytest.fail(child.stderr[-3000:])
        stopped = [number for number, outcome in found.items() if outcome == "started"]
        for number in stopped:
            found[number] = "crashed"
        seed = max(found, default=seed) + 1
    return found


def sample() -> pa.Table:
    return pa.table(
        {
            "id": pa.array(range(200), pa.int64()),
            "x": pa.array([i / 7 for i in range(200)], pa.float32()),
            "name": pa.array([f"nämé {i % 17}" if i % 5 else None for i in range(200)]),
            "v": pa.array([[1.0] * (i % 4) for i in range(200)], pa.list_(pa.float32())),
            "s": pa.array([{"a": i, "b": str(i)} for i in range(200)]),
        }
    )


@pytest.mark.parametrize("checksums", [True, False], ids=["checksums", "no checksums"])
def test_mutated_parquet_is_read_or_reported_row_by_row(tmp_path, checksums):
    path = tmp_path / "a.parquet"
    pq.write_table(
        sample(), path, row_group_size=50, write_page_checksum=checksums, compression="snappy"
    )
    found = outcomes(tmp_path, path, name="Parquet", count=80)
    assert len(found) == 80
    assert set(found.values()) <= {"whole", "InputCorrupt", "AmbiguousColumn", "MemoryError"}
    assert list(found.values()).count("whole") > 20


@pytest.mark.parametrize("stream", [False, True], ids=["file", "stream"])
def test_mutated_arrow_is_read_or_reported_row_by_row(tmp_path, stream):
    path = tmp_path / "a.arrow"
    opened = pa.ipc.new_stream if stream else pa.ipc.new_file
    with opened(str(path), sample().schema) as writer:
        writer.write_table(sample(), max_chunksize=50)
    found = outcomes(tmp_path, path, name="Arrow", count=80)
    assert len(found) == 80
    # a crash is the child's: a scorer's is retried and its shard charged
    allowed = {"whole", "InputCorrupt", "AmbiguousColumn", "MemoryError", "crashed"}
    assert set(found.values()) <= allowed
    assert list(found.values()).count("whole") > 20
