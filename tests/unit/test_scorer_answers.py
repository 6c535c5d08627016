"""What a scorer answers, and a planner makes of it, when preparing goes wrong."""

from __future__ import annotations

import errno
import os
import queue
import threading
import time

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob, JobFailed, ProcessBroken, Unavailable
from batch_inference_runner.schedule.deadline import Deadline
from batch_inference_runner.schedule.planning import Planner
from batch_inference_runner.schedule.slot import Slot
from batch_inference_runner.score import computing, workspace
from batch_inference_runner.score import scorer as scoring
from batch_inference_runner.score.messages import Prepare, Prepared, Refused, Unreachable
from batch_inference_runner.score.scorer import Scorer
from batch_inference_runner.storage.store import AccessDenied, FileAccessDenied, StoreError
from testkit.commits import make_config
from testkit.dispatch_runs import FakeScorer

STEPS = ("inspect_inputs", "fetch_model", "compile_stages", "probe_on_real_rows")


@pytest.fixture
def prepare(monkeypatch):
    """Let a scorer prepare, with something that goes wrong at one of its steps."""

    class Stub:
        schema = inventories = stages = columns = None

    for step in (*STEPS, "schema_to_read", "reader_for"):
        monkeypatch.setattr(scoring, step, lambda *_, **__: Stub())
    monkeypatch.setattr(scoring, "_limit_memory", lambda _bytes: None)
    monkeypatch.setattr(scoring, "_allow_open_files", lambda: None)
    monkeypatch.setattr(scoring.pa, "set_cpu_count", lambda _count: None)

    def prepared(step: str, error: Exception):
        def fail(*_args, **_options):
            raise error

        monkeypatch.setattr(scoring, step, fail)
        answers = []
        config = make_config().model_dump_json()
        Scorer(answers.append).handle(Prepare(config, files=(), memory_bytes=1 << 30))
        return answers[0]

    return prepared


def plan_after(answer):
    """Let a planner take a scorer's answer."""
    events = queue.SimpleQueue()
    scorer = FakeScorer()
    slot = Slot(name="s", spawn=lambda: scorer, threads=1, memory_bytes=1)
    slot.start(events.put)
    planner = Planner(make_config(), slot, events, stop=threading.Event(), deadline=Deadline())
    scorer.say(answer)
    return planner._prepared(())


def test_denied_access_to_the_input_is_permanent_and_found_while_planning(prepare):
    answer = prepare("inspect_inputs", FileAccessDenied("'/in/0.parquet': Permission denied"))

    with pytest.raises(JobFailed) as caught:
        plan_after(answer)

    assert not isinstance(caught.value, InvalidJob)
    assert caught.value.reason is Reason.ACCESS_DENIED
    assert "Permission denied" in caught.value.message
    assert "credentials" not in caught.value.message


@pytest.mark.parametrize("step", ["inspect_inputs", "fetch_model"])
def test_a_store_that_denies_access_is_a_matter_of_credentials(prepare, step):
    answer = prepare(step, AccessDenied("'s3://b/k': AccessDenied"))
    assert answer.reason == Reason.ACCESS_DENIED
    assert "correct the credentials" in answer.message


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("inspect_inputs", StoreError("'s3://b/k': SlowDown")),
        ("fetch_model", Unavailable("the model at 's3://b/k' could not be fetched")),
        ("fetch_model", OSError(errno.ENOSPC, "No space left on device")),
    ],
    ids=str,
)
def test_what_may_pass_is_tried_again(prepare, step, error):
    answer = prepare(step, error)
    assert isinstance(answer, Unreachable)
    assert str(error.args[-1]) in answer.message
    with pytest.raises(Unavailable):
        plan_after(answer)


def test_a_folder_that_cannot_be_made_may_pass_too(prepare, monkeypatch):
    def mkdtemp(**_options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(workspace.tempfile, "mkdtemp", mkdtemp)
    assert "Read-only file system" in prepare("probe_on_real_rows", LookupError()).message


def test_what_was_copied_in_vain_is_removed(prepare, monkeypatch, tmp_path):
    """Otherwise each try would leave a copy, where the room was short already."""
    monkeypatch.setattr(workspace.tempfile, "gettempdir", lambda: str(tmp_path))
    prepare("fetch_model", OSError(errno.ENOSPC, "No space left on device"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("step", "doing"),
    [
        ("inspect_inputs", "inspecting the input"),
        ("compile_stages", "loading the model"),
        ("probe_on_real_rows", "scoring the first rows"),
    ],
)
def test_want_of_memory_names_what_wanted_it(prepare, step, doing):
    answer = prepare(step, MemoryError("malloc failed"))
    assert isinstance(answer, Refused)
    assert (answer.reason, answer.invalid) == (Reason.OUT_OF_MEMORY, True)
    assert answer.message.startswith(f"{doing} needs more memory than the scorer has: malloc")


def test_a_scorer_that_cannot_go_on_ends_instead_of_answering(prepare):
    with pytest.raises(ProcessBroken):
        prepare("compile_stages", ProcessBroken("the SQL engine broke"))


@pytest.mark.parametrize("step", ["inspect_inputs", "compile_stages"])
def test_a_scorer_that_loops_while_it_prepares_ends(prepare, monkeypatch, step):
    statuses = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    monkeypatch.setattr(scoring, "_LONGEST_PREPARATION_SECONDS", 0.2)
    monkeypatch.setattr(computing, "_LOOK_SECONDS", 0.02)

    class Looping(Exception):
        """Loops when it is raised, as far as a test goes on after the end of its process."""

        def __init__(self) -> None:
            began = time.thread_time()
            while not statuses and time.thread_time() - began < 10:
                sum(range(1000))

    with pytest.raises(Looping):
        prepare(step, Looping)
    assert statuses[0] == scoring._HUNG


def test_an_answer_is_a_plan_in_the_making():
    assert plan_after(Prepared({}, ())) == Prepared({}, ())
