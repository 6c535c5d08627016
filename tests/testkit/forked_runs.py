"""Whole runs of the driver in forked processes that exit at a chosen write.

`python -m testkit.forked_runs` imports everything once and forks a process for each line of JSON on
its stdin, so that a run costs some 50 ms instead of a second. In it scorer and driver are threads
that share one fate: whoever comes to the n-th write of the output store ends the process there, as
SIGKILL would. What they say to each other passes through the real encoding.

The parent must never start a thread (of pyarrow, obstore or its own): forks would inherit locks.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from dataclasses import dataclass

from testkit.faulty_store import Fault, FaultyStore
from testkit.scorer_nursery import import_for_forks, importable

CRASHED = 9
"""Exit code of a process that ended at its write."""


@dataclass(frozen=True)
class Forked:
    """How a run ended: the exit code of `bij`, or CRASHED; reason and message of its failure."""

    code: int
    reason: str | None = None
    message: str = ""


class ForkedRuns:
    """Starts the parent process; `run` asks it for one run. A context manager."""

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "testkit.forked_runs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=importable(os.environ),
        )
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def run(self, config, *, at=0, fault=Fault.CRASH_BEFORE, impatient=False) -> Forked:
        """Run the job of a RunnerConfig; 0: no write fails. `impatient`: hardly any retries."""
        request = {
            "config": config.model_dump_json(),
            "at": at,
            "fault": fault,
            "impatient": impatient,
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the parent of all runs has died"
        return Forked(**json.loads(answer))


class ExitingStore(FaultyStore):
    """Ends the process at the write, before or after its effect."""

    def _suffer(self, what, effect):
        del what
        try:
            if self.fault is Fault.CRASH_AFTER:
                effect()
        finally:
            os._exit(CRASHED)


class ThreadScorer:
    """The scorer as a thread of the driver's process."""

    def __init__(self):
        self._inbox = queue.SimpleQueue()

    def listen(self, on_message, on_exit):
        del on_exit
        threading.Thread(target=self._work, args=(on_message,), daemon=True).start()

    def send(self, message):
        self._inbox.put(message)

    def kill(self):
        raise AssertionError("a run in a forked process must not lose its scorer")

    def close(self):
        """Nothing to end: the process will."""

    def _work(self, on_message):
        from batch_inference_runner.score.messages import decode, encode
        from batch_inference_runner.score.scorer import Scorer

        scorer = Scorer(lambda message: on_message(decode(encode(message))))
        while True:
            scorer.handle(decode(encode(self._inbox.get())))


def main() -> None:
    _import_everything()
    for line in sys.stdin:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            _run_and_exit(json.loads(line), writing)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            answer = pipe.read()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(answer or json.dumps({"code": code}), flush=True)


def _import_everything() -> None:
    import_for_forks(
        "batch_inference_runner.cli.failures",
        "batch_inference_runner.progress.counters",
        "batch_inference_runner.schedule.driver",
        "batch_inference_runner.storage.object_store",
    )


def _run_and_exit(request, writing) -> None:
    try:
        answer = _run(request)
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    except BaseException:  # noqa: BLE001 - the edge of a process: a fork must not return
        import traceback

        traceback.print_exc()
        os._exit(99)


def _run(request) -> dict:
    from batch_inference_api.runner_contract import RunnerConfig
    from batch_inference_runner.cli.failures import failure_of
    from batch_inference_runner.progress.counters import Progress
    from batch_inference_runner.schedule import driver
    from batch_inference_runner.schedule.launch import launch
    from batch_inference_runner.score import scorer
    from batch_inference_runner.storage.location import open_store

    if request["impatient"]:
        _lose_patience()
    config = RunnerConfig.parse(request["config"])
    store = ExitingStore(
        open_store(config.output.location), at=request["at"], fault=Fault(request["fault"])
    )
    driver.open_store = scorer.open_store = lambda _location: store
    try:
        launched = launch(config, stop=threading.Event(), scorer=ThreadScorer())
        driver.run(launched, progress=Progress(config.job))
    except Exception as error:  # noqa: BLE001 - every failure is reported
        failure = failure_of(error)
        code, reason = int(failure.exit_code), failure.reason
        return {"code": code, "reason": reason, "message": failure.message}
    return {"code": 0}


def _lose_patience() -> None:
    from datetime import timedelta

    from batch_inference_runner.commit import exclusive, marker, probe, publish
    from batch_inference_runner.schedule import outage
    from batch_inference_runner.storage import clients

    for module in (exclusive, marker, probe, publish):
        module.DELAYS_SECONDS = (0.01,)
    outage.MOST_FAILURES = 1
    clients._RETRY |= {"max_retries": 1, "retry_timeout": timedelta(seconds=2)}


if __name__ == "__main__":
    main()
