"""SIGKILL and SIGSTOP of anything at any moment: no row lost, none twice, nothing scored again."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from testkit import onnx_models
from testkit.deadlines import wait_for
from testkit.exactness import assert_exact, attempts_of, markers_of
from testkit.jobs import Job, spec_of
from testkit.processes import kill, run_until_killed, scorers_below
from testkit.soak import scaled

ROWS = 80_000
SHARD_ROWS = 500
FEATURES = [f"f{number}" for number in range(32)]


@pytest.fixture(scope="module")
def workload(tmp_path_factory) -> tuple[Path, Path, np.ndarray]:
    """A dataset, a model, and what a plain loop over ONNX Runtime makes of them."""
    folder = tmp_path_factory.mktemp("workload")
    (folder / "data").mkdir()
    features = np.random.default_rng(1).standard_normal((ROWS, 32), dtype=np.float32)
    table = pa.table(
        {"id": np.arange(ROWS), **{name: features[:, i] for i, name in enumerate(FEATURES)}}
    )
    half = ROWS // 2
    for number, part in enumerate((table.slice(0, half), table.slice(half))):
        path = folder / "data" / f"part-{number}.parquet"
        pq.write_table(part, path, row_group_size=SHARD_ROWS)
    model = onnx_models.mlp(folder / "mlp.onnx", hidden=(2048, 1024))
    session = ort.InferenceSession(str(model))
    scores = np.concatenate(
        [
            session.run(None, {"input": features[start : start + 8192]})[0]
            for start in range(0, ROWS, 8192)
        ]
    ).ravel()
    return model, folder / "data", scores


@pytest.fixture
def job(workload, tmp_path) -> Job:
    model, data, _ = workload
    spec = spec_of(model, data, columns=FEATURES, model_input="input")
    spec["sharding"] = {"targetRowsPerShard": SHARD_ROWS}
    return Job(tmp_path, spec)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(scaled(1, soak=40)))
def test_everything_is_killed_again_and_again_and_the_same_command_completes(job, workload, seed):
    chance = random.Random(seed)
    kills, before = 0, {}
    while kills < scaled(12, soak=25):
        # A slow machine commits nothing in that time, so every other kill waits for commits.
        seconds = chance.uniform(0.05, 1.0) if kills % 2 else 60
        run = job.start()
        if not run_until_killed(run, lambda: len(markers_of(job)), seconds=seconds, commits=6):
            break
        kills += 1
        after = markers_of(job)
        assert {key: after[key] for key in before} == before, "a committed shard was scored again"
        before = after
    ended = job.run()
    assert ended.code == 0, ended.stderr
    print(f"killed {kills} times")
    assert kills >= scaled(6, soak=10)
    assert_exact(job, workload[2])


def test_scorers_are_killed_and_crashed_and_the_run_goes_on(job, workload):
    """Only scorers at work are crashed: the model is to blame for three that never become ready."""
    chance = random.Random(7)
    run, begun = job.start(), frozenset()
    for number in 3 * [signal.SIGKILL, signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT]:
        commits = chance.randint(1, 4)
        wait_for(
            lambda begun=begun, commits=commits: len(committed_since(job, begun)) >= commits,
            seconds=120,
            what=f"{commits} commits of the present scorer",
            every_seconds=0.01,
        )
        (scorer,) = scorers_below(run.pid)
        assert kill(scorer, number)
        if chance.random() < 0.3:  # and the next one while it is only starting
            (starting,) = wait_for(
                lambda scorer=scorer: [pid for pid in scorers_below(run.pid) if pid != scorer],
                seconds=30,
                what="the next scorer",
                every_seconds=0.01,
            )
            kill(starting)
        begun = attempts_of(job)
    assert run.wait(300) == 0
    assert_exact(job, workload[2])


def committed_since(job: Job, begun: frozenset[str]) -> frozenset[str]:
    """The markers of attempts that began later: a dead scorer's last ones are on their way yet."""
    markers = markers_of(job)
    return frozenset(key for key in markers if json.loads(markers[key])["attempt"] not in begun)


def test_a_stopped_scorer_is_replaced(job, workload):
    run = job.start()
    wait_for(lambda: bool(markers_of(job)), seconds=30, what="the first commit", every_seconds=0.01)
    (scorer,) = scorers_below(run.pid)
    kill(scorer, signal.SIGSTOP)
    assert run.wait(90) == 0
    assert_exact(job, workload[2])


def test_a_stopped_driver_that_wakes_up_late_changes_nothing(job, workload):
    run = job.start()
    wait_for(lambda: len(markers_of(job)) > 3, seconds=30, what="some commits", every_seconds=0.01)
    stopped = [run.pid, *scorers_below(run.pid)]
    for pid in stopped:
        kill(pid, signal.SIGSTOP)
    other = job.run()
    assert other.code == 0, other.stderr
    published = {path.name: path.read_bytes() for path in job.output.glob("part-*")}
    success = (job.output / "_SUCCESS").read_bytes()
    for pid in stopped:
        kill(pid, signal.SIGCONT)
    assert run.wait(60) == 0
    assert {path.name: path.read_bytes() for path in job.output.glob("part-*")} == published
    assert (job.output / "_SUCCESS").read_bytes() == success
    assert_exact(job, workload[2])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_so_and_resumes(job, workload, number, code):
    run = job.start()
    wait_for(lambda: len(markers_of(job)) > 3, seconds=30, what="some commits", every_seconds=0.01)
    kill(run.pid, number)
    assert run.wait(20) == code
    before = markers_of(job)
    assert not (job.output / "_SUCCESS").exists()
    assert job.run().code == 0
    after = markers_of(job)
    assert {key: after[key] for key in before} == before
    assert_exact(job, workload[2])


def test_no_process_outlives_a_killed_driver(job):
    run = job.start()
    wait_for(lambda: bool(scorers_below(run.pid)), seconds=20, what="a scorer")
    scorers = scorers_below(run.pid)
    kill(run.pid)
    run.wait()
    for scorer in scorers:
        wait_for(
            lambda pid=scorer: not Path(f"/proc/{pid}/exe").exists(),
            seconds=5,
            what=f"the end of scorer {scorer}",
        )


def test_counts_in_the_manifest_add_up_to_the_markers(job):
    assert job.run().code == 0
    markers = [json.loads(body) for body in markers_of(job).values()]
    assert len(markers) == ROWS // SHARD_ROWS
