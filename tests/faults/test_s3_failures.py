"""What goes wrong with a store in the middle of a run: throttling, loss, refusal, change."""

from __future__ import annotations

import itertools
import random
import re
import signal
import subprocess

import pytest

from batch_inference_runner.storage.store import NotFound
from testkit import onnx_models
from testkit.deadlines import wait_for
from testkit.faulty_store import Fault
from testkit.forked_runs import CRASHED, ForkedRuns
from testkit.gate import Gate, silent
from testkit.s3 import running_s3, write_credentials
from testkit.s3_jobs import (
    WRONG_KEY,
    S3Job,
    assert_exact,
    assert_no_secrets,
    config_of,
    make_job,
    parquet_of,
    upload,
)
from testkit.s3_proxy import Mischief, Proxy, misbehaving

pytestmark = pytest.mark.s3

ROWS = 400


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_s3(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(scope="module")
def runs():
    with ForkedRuns() as forked:
        yield forked


@pytest.fixture
def proxy(server):
    with misbehaving(server.endpoint) as running:
        yield running


@pytest.fixture
def job(server, proxy, tmp_path, request):
    prefix = re.sub(r"\W+", "-", request.node.name)
    made = make_job(server, tmp_path, prefix, rows=ROWS, shards=20)
    made.go_through(proxy.endpoint)
    return made


def is_commit(method: str, path: str) -> bool:
    return method == "PUT" and "/commit/" in path


def once(condition, action):
    """A `choose` that acts at the first request for which the condition holds."""
    done = []

    def choose(method, path):
        if not done and condition(method, path):
            done.append(path)
            return action()
        return None

    return choose


def test_throttling_resets_and_cut_answers_are_ridden_out(job, proxy):
    chance = random.Random(7)
    burst = itertools.chain.from_iterable(
        [Mischief.SLOW_DOWN] * chance.randint(2, 6) + [None] * 40 for _ in itertools.count()
    )

    def choose(method, _path):
        if (mischief := next(burst)) is not None:
            return mischief
        others = [Mischief.ERROR_AFTER, Mischief.RESET_AFTER]
        if method == "GET":
            others.append(Mischief.TRUNCATE)
        return chance.choice(others) if chance.random() < 0.05 else None

    proxy.choose = choose
    job.spec["backoffLimitPerShard"] = 0  # one attempt that is charged would fail the run
    ended = job.run()
    assert ended.code == 0, ended.stderr
    assert job.manifest()["run"]["failedShards"] == {}
    assert_exact(job, ROWS)


def test_a_store_that_goes_away_is_worth_another_try_and_the_rerun_resumes(job, proxy, runs):
    gone = []

    def go_away():
        gone.append(True)
        return Mischief.SLOW_DOWN

    away = once(lambda method, path: is_commit(method, path) and len(job.markers()) > 3, go_away)
    proxy.choose = lambda *request: Mischief.SLOW_DOWN if gone else away(*request)
    ended = runs.run(config_of(job), impatient=True)
    assert (ended.code, ended.reason) == (1, None), ended
    assert "SlowDown" in ended.message
    assert "run the same command again" in ended.message
    assert_no_secrets(ended.message)
    before = job.markers()
    assert len(before) > 3
    proxy.choose = lambda *_: None
    assert job.run().code == 0
    assert {key: job.markers()[key] for key in before} == before
    assert_exact(job, ROWS)


@pytest.mark.parametrize("ending", ["a deadline", "SIGINT"])
def test_a_store_that_falls_silent_does_not_hold_up_the_end(job, proxy, ending):
    """Nor does what it has been sent matter, should it come to itself later."""
    gate = Gate()
    proxy.choose = gate.wait_to_pass
    gate.let_pass(2)
    if ending == "a deadline":
        job.spec["activeDeadlineSeconds"] = 8
    run = job.start()
    wait_for(lambda: len(job.markers()) == 2, seconds=30, what="two commits")
    if ending == "SIGINT":
        run.send_signal(signal.SIGINT)
    # A request to the store may take two minutes, and is repeated then.
    assert run.wait(60) == (70 if ending == "a deadline" else 130)
    gate.open()
    job.spec.pop("activeDeadlineSeconds", None)
    assert job.run().code == 0
    assert_exact(job, ROWS)


def is_listing_of_input(method: str, path: str) -> bool:
    return method == "GET" and "list-type=2" in path and "data" in path


def is_reading_of_claim(method: str, path: str) -> bool:
    return method == "GET" and path.endswith("claim.json")


def is_record_of_attempt(method: str, path: str) -> bool:
    return method == "PUT" and "/attempts/" in path


def is_result(method: str, path: str) -> bool:
    return method == "PUT" and path.endswith("_SUCCESS")


def is_cleaning(method: str, path: str) -> bool:
    return method == "GET" and "list-type=2" in path and "stage" in path


def end_in_silence(job: S3Job, proxy: Proxy, begins, *, by: str) -> int:
    """Run the job until its store falls silent, end it, and let the store come to itself.

    Its requests would wait for two minutes.
    """
    if by == "a deadline":
        job.spec["activeDeadlineSeconds"] = 1
    with silent(proxy, begins) as silence:
        run = job.start()
        try:
            assert silence.has_begun.wait(30)
            if by != "a deadline":
                run.send_signal(signal.Signals[by])
            code = run.wait(30)
        finally:
            run.kill()
    job.spec.pop("activeDeadlineSeconds", None)
    return code


@pytest.mark.parametrize(
    ("begins", "by", "code"),
    [
        pytest.param(is_listing_of_input, "SIGINT", 130, id="the input is listed, Ctrl-C"),
        pytest.param(is_record_of_attempt, "SIGTERM", 143, id="an attempt is recorded, SIGTERM"),
        pytest.param(is_result, "SIGINT", 130, id="the result is written, Ctrl-C"),
    ],
)
def test_a_run_ends_wherever_it_waits_for_a_silent_store(job, proxy, runs, begins, by, code):
    assert end_in_silence(job, proxy, begins, by=by) == code
    assert runs.run(config_of(job)).code == 0
    assert_exact(job, ROWS)


@pytest.mark.parametrize(
    ("begins", "by", "code"),
    [
        pytest.param(is_reading_of_claim, "a deadline", 70, id="the claim is read, a deadline"),
        pytest.param(is_listing_of_input, "SIGTERM", 143, id="the input is listed, SIGTERM"),
    ],
)
def test_so_does_one_that_resumes(job, proxy, runs, begins, by, code):
    assert runs.run(config_of(job), at=40, fault=Fault.CRASH_AFTER).code == CRASHED
    before = job.markers()
    assert before
    assert end_in_silence(job, proxy, begins, by=by) == code
    assert runs.run(config_of(job)).code == 0
    assert {key: job.markers()[key] for key in before} == before
    assert_exact(job, ROWS)


def test_so_does_a_validation(job, proxy):
    command = job.command()
    command[command.index("run")] = "validate"
    with silent(proxy, is_listing_of_input) as silence:
        validation = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            assert silence.has_begun.wait(30)
            validation.send_signal(signal.SIGINT)
            assert validation.wait(30) == 130
        finally:
            validation.kill()


def test_a_result_counts_although_what_it_leaves_could_not_be_removed(job, proxy):
    assert end_in_silence(job, proxy, is_cleaning, by="SIGINT") == 0
    assert_exact(job, ROWS)


def test_wrong_credentials_are_refused_before_anything_is_spent(job, server):
    write_credentials(job.credentials, server.endpoint, secret=WRONG_KEY)
    ended = job.run()
    assert ended.code == 70
    assert ended.message.startswith("AccessDenied: ")
    assert "credentials" in ended.message
    assert list(job.out.list()) == []


@pytest.mark.parametrize("refused", ["commit", "stage", "data"])
def test_credentials_that_are_revoked_in_the_middle_end_the_run_and_it_resumes(
    server, proxy, tmp_path, runs, refused
):
    job = make_job(server, tmp_path, f"revoked-{refused}", rows=ROWS, shards=20)
    job.go_through(proxy.endpoint)
    seen = itertools.count()

    def choose(_method, path):
        return Mischief.DENY if f"/{refused}/" in path and next(seen) >= 6 else None

    proxy.choose = choose
    ended = runs.run(config_of(job), impatient=True)
    assert (ended.code, ended.reason) == (70, "AccessDenied"), ended
    assert_no_secrets(ended.message)
    before = job.markers()
    proxy.choose = lambda *_: None
    assert runs.run(config_of(job)).code == 0
    assert {key: job.markers()[key] for key in before} == before
    assert_exact(job, ROWS)


@pytest.mark.parametrize("change", ["replaced", "deleted"])
def test_an_input_that_changes_during_the_run_is_named(server, proxy, tmp_path, change):
    job = make_job(server, tmp_path, change, rows=ROWS, shards=20)
    job.go_through(proxy.endpoint)

    def alter():
        store = job.store
        store.delete(["data/rows.parquet"])
        if change == "replaced":
            store.create("data/rows.parquet", parquet_of(range(1, ROWS + 1), row_group_size=20))

    proxy.choose = once(lambda method, path: method == "PUT" and path.endswith("claim.json"), alter)
    ended = job.run()
    assert ended.code == 70
    assert ended.message.startswith("InputChanged: ")
    assert f"s3://bucket/{change}/data/rows.parquet" in ended.message
    with pytest.raises(NotFound):
        job.out.get("_SUCCESS")


def test_a_model_that_was_replaced_between_two_runs_is_refused(job, runs, tmp_path):
    assert runs.run(config_of(job), at=40, fault=Fault.CRASH_AFTER).code == CRASHED
    assert job.markers()
    job.store.delete(["model.onnx"])
    other = onnx_models.mlp(tmp_path / "other.onnx", width=3, hidden=(4,))
    upload(job.store, other, "model.onnx")
    ended = job.run()
    assert ended.code == 70
    assert ended.message.startswith("ModelDigestMismatch: ")


def test_a_store_that_ignores_conditions_is_refused_before_a_plan_is_written(job, proxy):
    proxy.choose = lambda *_: Mischief.IGNORE_CONDITIONS
    ended = job.run()
    assert ended.code == 70
    assert ended.message.startswith("OutputStoreUnsafe: ")
    assert not [info.key for info in job.out.list() if "/probe/" not in info.key]


def test_nothing_that_a_run_leaves_holds_a_secret(job, runs):
    assert runs.run(config_of(job), at=60, fault=Fault.CRASH_AFTER).code == CRASHED
    keys = [info.key for info in job.out.list() if not info.key.endswith(".parquet")]
    assert {key.rpartition("/")[2] for key in keys} > {"plan.json", "claim.json"}
    for key in keys:
        assert_no_secrets(job.out.get(key).decode())
    assert_no_secrets(config_of(job).model_dump_json())
