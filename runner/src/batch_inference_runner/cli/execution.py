"""Runs a resolved job with its display, its server and its signals, and says how it ended."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from batch_inference_api.runner_contract import RunPhase
from batch_inference_runner import lean_imports
from batch_inference_runner.cli.display import Display
from batch_inference_runner.cli.interrupts import Interrupts
from batch_inference_runner.errors import ExitCode, Interrupted, JobFailed
from batch_inference_runner.progress.counters import Progress
from batch_inference_runner.schedule.deadline import Deadline
from batch_inference_runner.schedule.launch import launch
from batch_inference_runner.schedule.run_thread import RunThread

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch_inference_api.runner_contract import ProgressReport, RunnerConfig
    from batch_inference_runner.cli.display import Renderer
    from batch_inference_runner.cli.failures import Failure
    from batch_inference_runner.schedule.driver import Outcome
    from batch_inference_runner.schedule.ray_nodes import RayNodes
    from batch_inference_runner.schedule.scorer_process import ScorerProcess

    StartServices = Callable[[Progress, contextlib.ExitStack], RayNodes | None]
    """Starts what serves the run, leaves its end to the stack, returns the run's other members."""


class Result(NamedTuple):
    """How a run ended: `outcome` or `failure`, and the final report.

    `defect` is the exception where its traceback is needed to understand the failure.
    """

    exit_code: ExitCode
    report: ProgressReport
    seconds: float
    outcome: Outcome | None = None
    failure: Failure | None = None
    defect: BaseException | None = None


def execute(
    config: RunnerConfig,
    scorer: ScorerProcess,
    *,
    progress: Progress | None = None,
    renderer: Renderer | None = None,
    start_services: StartServices | None = None,
) -> Result:
    """Run the job to its end and return how it ended; raises OSError if a service cannot listen.

    SIGINT and SIGTERM stop the run. Every other ending is in the result, defects included, because
    a final report must be left whatever happens: also if the run still waits for a store, on a
    thread that is left behind. `progress` may know of earlier attempts.
    """
    deadline = Deadline.after(config.budget.active_deadline_seconds, began=time.monotonic())
    progress = progress or Progress(config.job, run_number=config.run.number)
    stop = threading.Event()
    with contextlib.ExitStack() as stack:
        members = start_services(progress, stack) if start_services is not None else None
        interrupts = stack.enter_context(Interrupts(stop))
        if renderer is not None:
            stack.enter_context(Display(progress, stop, renderer))
        thread: RunThread[Outcome] = RunThread()

        def score() -> Outcome:
            launched = launch(config, stop=stop, scorer=scorer, deadline=deadline)
            with lean_imports.uncollected():  # while the scorer prepares
                from batch_inference_runner.schedule import driver

            return driver.run(launched, progress=progress, members=members, settle=thread.settle)

        try:
            outcome = thread.finish(score, stop=stop, deadline=deadline)
        except BaseException as error:  # noqa: BLE001 - the edge of a run: a report must be left
            return _failed(error, progress, interrupts)
        return _succeeded(outcome, progress)


def _succeeded(outcome: Outcome, progress: Progress) -> Result:
    return Result(
        ExitCode.SUCCESS, progress.finish(RunPhase.SUCCEEDED), progress.seconds(), outcome=outcome
    )


def _failed(error: BaseException, progress: Progress, interrupts: Interrupts) -> Result:
    from batch_inference_runner.cli.failures import failure_of, is_expected

    failure = failure_of(error)
    exit_code = interrupts.exit_code if isinstance(error, Interrupted) else failure.exit_code
    # Only what fails again is Failed; everything else can be resumed.
    phase = RunPhase.FAILED if isinstance(error, JobFailed) else RunPhase.INTERRUPTED
    report = progress.finish(phase, reason=failure.reason, message=failure.message)
    defect = None if is_expected(error) else error
    return Result(exit_code, report, progress.seconds(), failure=failure, defect=defect)
