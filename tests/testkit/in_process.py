"""Runs of `bij` inside the test's process: the scorers are processes, the driver is not."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from unittest import mock

from batch_inference_runner.__main__ import main
from batch_inference_runner.schedule.scorer_process import ScorerProcess
from testkit.jobs import Ended, Job
from testkit.scorer_nursery import nursery


def spawn_scorer(*, gpu: int | None = None) -> ScorerProcess:
    """Start the scorers of these runs; a test to which their start matters puts another here."""
    return nursery().spawn(gpu=gpu)


def bij(*words: object) -> Ended:
    """Run one command and return what it left, as a process would."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        _root_logger_restored(),
        mock.patch.multiple(ScorerProcess, fork=spawn_scorer, spawn=spawn_scorer),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        code = main([str(word) for word in words])
    return Ended(int(code), stdout.getvalue(), stderr.getvalue())


def run(job: Job, *arguments: object) -> Ended:
    """`bij run` of the job, with its result as JSON."""
    return bij("run", job.write(), "--output-format", "json", *arguments)


def validate(job: Job, *arguments: object) -> Ended:
    """`bij validate` of the job, with the plan as JSON."""
    return bij("validate", job.write(), "--output-format", "json", *arguments)


@contextlib.contextmanager
def _root_logger_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
