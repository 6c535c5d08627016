"""A `_SUCCESS` that is not what was written is refused, whatever was changed in it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_runner.commit.manifest import (
    Manifest,
    ManifestFile,
    RowTotals,
    body_of,
    parse_manifest,
)
from batch_inference_runner.commit.verify import verify
from batch_inference_runner.errors import JobFailed
from testkit.commits import drive, make_config
from testkit.faulty_store import MemoryStore

FILE = ManifestFile("g=0/part-000000-1f3a9c2e.parquet", rows=3, bytes=100, sha256="ab", shard=0)
MANIFEST = Manifest(
    job={"name": "job"},
    plan_hash="1f",
    plans=("1f",),
    generation=1,
    mode="Overwrite",
    format="Parquet",
    files=(FILE,),
    rejects=(FILE,),
    counts=RowTotals(read=3, written=3),
    replaced=("part-old",),
    earlier=("2e",),
    plan_counts={"1f": RowTotals(read=3, written=3)},
)
PATHS = ["../part-0", "/etc/passwd", "a//b", "", "a\0b", "\ud800", 5, None]
CHANGES = [
    *((("files", 0, "path"), path) for path in PATHS),
    (("replaced", 0), "../../part-0"),
    (("rejects", 0, "path"), "../part-0"),
    (("files", 0, "rows"), -1),
    (("files", 0, "rows"), True),
    (("files", 0, "bytes"), 1.5),
    (("files", 0, "shard"), "0"),
    (("files", 0, "sha256"), None),
    (("files", 0), [1]),
    (("files", 0), {"path": "part-0"}),
    (("files",), {}),
    (("counts", "read"), -3),
    (("counts",), [3]),
    (("planCounts",), []),
    (("planCounts", "1f"), 3),
    (("planCounts", "1f", "read"), -3),
    (("plans",), "1f"),
    (("plans",), [1]),
    (("generation",), "1"),
    (("job",), "job"),
    (("inputs",), ["a"]),
    (("details",), None),
    *((("details", "outputColumns"), columns) for columns in [5, None, ["id: int64", 5]]),
    (("earlier",), [None]),
]


def changed(path: tuple[str | int, ...], value: object) -> bytes:
    document = json.loads(body_of(MANIFEST))
    place = document
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return json.dumps(document).encode()


def test_what_is_written_is_read():
    assert parse_manifest(MemoryStore(), body_of(MANIFEST)) == MANIFEST


def test_a_manifest_of_a_release_that_counted_all_plans_as_one_is_read():
    document = json.loads(body_of(MANIFEST))
    del document["planCounts"]
    manifest = parse_manifest(MemoryStore(), json.dumps(document).encode())
    assert manifest == replace(MANIFEST, plan_counts={})
    assert manifest.counts_of("1f") == MANIFEST.counts


@pytest.mark.parametrize(("path", "value"), CHANGES)
def test_a_manifest_with_a_value_that_cannot_be_is_refused(path, value):
    store = MemoryStore()
    store.put("_SUCCESS", changed(path, value))
    with pytest.raises(JobFailed, match="is damaged, or not a manifest") as refused:
        verify(store)
    assert refused.value.reason is Reason.VERSION_SKEW


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"7", b"\xff", b"[" * 200_000])
def test_a_manifest_that_is_no_manifest_at_all_is_refused(body):
    with pytest.raises(JobFailed, match="is damaged, or not a manifest"):
        parse_manifest(MemoryStore(), body)


@pytest.mark.parametrize("mode", ["ErrorIfExists", "Overwrite", "Append"])
@pytest.mark.parametrize("body", [b"", b"{}", b"done"])
def test_a_result_of_another_program_is_told_and_not_replaced(mode, body):
    store = MemoryStore()
    store.create("_SUCCESS", body)
    with pytest.raises(JobFailed, match="a result of another program") as refused:
        drive(store, make_config(mode=mode), attempt="a")
    assert refused.value.reason is Reason.OUTPUT_EXISTS
    assert {key: store.get(key) for key in store.objects} == {"_SUCCESS": body}


def test_a_manifest_that_was_damaged_is_not_taken_for_another_program_s():
    store = MemoryStore()
    drive(store, make_config(), attempt="a")
    store.put("_SUCCESS", b"")
    with pytest.raises(JobFailed, match="damaged") as refused:
        drive(store, make_config(), attempt="b")
    assert refused.value.reason is Reason.VERSION_SKEW
