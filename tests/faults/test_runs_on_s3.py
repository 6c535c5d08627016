"""Whole runs that read from and write to a real S3 server, killed at any moment."""

from __future__ import annotations

import itertools
import random

import pytest

from testkit.faulty_store import CRASHES
from testkit.forked_runs import CRASHED, ForkedRuns
from testkit.processes import run_until_killed
from testkit.s3 import running_s3
from testkit.s3_jobs import assert_exact, assert_no_secrets, config_of, make_job, parquet_of

pytestmark = pytest.mark.s3


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_s3(tmp_path_factory.mktemp("s3")) as running:
        yield running


def test_a_run_on_s3_is_exact_and_leaves_nothing_but_its_result(server, tmp_path):
    job = make_job(server, tmp_path, "plain", rows=1000, shards=20)
    ended = job.run()
    assert ended.code == 0, ended.stderr
    assert_exact(job, 1000)
    for info in job.out.list():
        if not info.key.startswith("part-"):
            assert_no_secrets(job.out.get(info.key).decode())
    assert job.run().result["outcome"] == "AlreadyComplete"
    assert job.gc().code == 0
    left = [info.key for info in job.out.list("_bij")]
    assert len(left) == 2, left  # the claim and the plan
    assert_exact(job, 1000)


def test_everything_is_killed_again_and_again_and_the_same_command_completes(server, tmp_path):
    rows, shards = 6_000, 240
    job = make_job(server, tmp_path, "killed", rows=rows, shards=shards)
    chance = random.Random(20261122)
    kills, before = 0, {}
    while kills < 7:
        # A slow machine commits nothing in that time, so every other kill waits for commits.
        seconds = chance.uniform(0.1, 1.3) if kills % 2 else 60
        run = job.start()
        if not run_until_killed(run, lambda: len(job.markers()), seconds=seconds, commits=10):
            break
        kills += 1
        after = job.markers()
        assert {key: after.get(key) for key in before} == before, "a shard was scored again"
        before = after
    ended = job.run()
    assert ended.code == 0, ended.stderr
    assert kills >= 4
    assert len(before) > 0
    after = job.markers()
    assert {key: after.get(key) for key in before} == before
    assert_exact(job, rows)


@pytest.mark.parametrize("fault", CRASHES)
def test_a_run_that_dies_at_a_write_is_resumed_exactly(server, tmp_path, fault):
    with ForkedRuns() as runs:
        for at in itertools.count(19, 7):
            job = make_job(server, tmp_path, f"sweep/{fault.name}/{at}", rows=40, shards=4)
            ended = runs.run(config_of(job), at=at, fault=fault)
            if ended.code != CRASHED:
                break
            before = job.markers()
            assert runs.run(config_of(job)).code == 0
            assert {key: job.markers()[key] for key in before} == before
            assert_exact(job, 40)
    assert ended.code == 0, ended
    assert at > 40


NAMES = (
    "country=Österreich/a b+c.parquet",
    "country=Österreich/100%25 of it.parquet",
    "country=日本/ß#1?.parquet",
    "country=A%2FB/~!@$&'()=;,.parquet",
)


def test_keys_of_any_characters_and_folder_markers_are_read(server, tmp_path):
    job = make_job(server, tmp_path, "names", rows=40, shards=1)
    store = job.store
    store.delete(["data/rows.parquet"])
    for number, name in enumerate(NAMES):
        store.create(f"data/{name}", parquet_of(range(10 * number, 10 * number + 10)))
    for marker in ("data/", "data/country=日本/", "data/country=nowhere/", "data/empty/"):
        server.put_folder_marker(f"names/{marker}")
    job.spec["output"]["passthroughFields"] = ["id", "country"]
    ended = job.run()
    assert ended.code == 0, ended.stderr
    assert_exact(job, 40)
    countries = {row["id"] // 10: row["country"] for row in job.rows()}
    assert countries == {0: "Österreich", 1: "Österreich", 2: "日本", 3: "A/B"}
    inputs = [file["uri"].rpartition("/data/")[2] for file in job.manifest()["inputs"]]
    assert sorted(inputs) == sorted(NAMES)


@pytest.mark.parametrize(
    ("glob", "numbers"),
    [
        ("**/part-?.parquet", range(4)),
        ("day=[12]/*.parquet", range(1, 3)),
        ("day=3/", range(3, 4)),
    ],
)
def test_globs_and_partitions_choose_files(server, tmp_path, glob, numbers):
    prefix = f"globs/{numbers.start}-{numbers.stop}"
    job = make_job(server, tmp_path, prefix, rows=10, shards=1)
    job.store.delete(["data/rows.parquet"])
    for number in range(4):
        body = parquet_of(range(10 * number, 10 * number + 10))
        job.store.create(f"data/day={number}/part-{number}.parquet", body)
    job.store.create("data/day=1/_temporary/part-9.parquet", b"hidden")
    job.spec["input"]["storageUris"] = [job.spec["input"]["storageUris"][0] + glob]
    ended = job.run()
    assert ended.code == 0, ended.stderr
    assert sorted({row["id"] // 10 for row in job.rows()}) == list(numbers)


def test_two_thousand_objects_are_listed_and_those_of_a_glob_are_read(server, tmp_path):
    job = make_job(server, tmp_path, "many", rows=2000, shards=1)
    job.store.delete(["data/rows.parquet"])
    bodies = {
        f"data/{number:04}.jsonl": b'{"id": %d, "a": %d, "b": %d, "c": %d}\n' % ((number,) * 4)
        for number in range(2000)
    }
    assert job.store.create_all(bodies) == {}
    assert len(list(job.store.list("data"))) == 2000
    job.spec["input"] |= {"format": "JSONLines"}
    job.spec["input"]["storageUris"] = [job.spec["input"]["storageUris"][0] + "0[01]??.jsonl"]
    job.spec["sharding"] = {"targetRowsPerShard": 50}
    ended = job.run()
    assert ended.code == 0, ended.stderr
    assert_exact(job, 200)
