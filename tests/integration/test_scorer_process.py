"""A scorer as a child process: its life and its death."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from batch_inference_runner.schedule.scorer_process import ScorerProcess
from batch_inference_runner.score.messages import Beat, Prepare, Refused
from testkit.commits import make_config
from testkit.deadlines import wait_for
from testkit.processes import is_scorer, kill

SECONDS = 30


DRIVER = """
import time
from batch_inference_runner.schedule.scorer_process import ScorerProcess
scorer = ScorerProcess.{start}()
print(scorer.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def scorer():
    scorer = ScorerProcess.spawn()
    yield scorer
    scorer.close()


def listen(scorer: ScorerProcess) -> tuple[queue.Queue, queue.Queue]:
    messages, exits = queue.Queue(), queue.Queue()
    scorer.listen(messages.put, exits.put)
    return messages, exits


def test_it_gives_signs_of_life_and_answers(scorer):
    messages, _ = listen(scorer)
    assert isinstance(messages.get(timeout=SECONDS), Beat)
    config = make_config(model="file:///nowhere/model.onnx")
    scorer.send(Prepare(config.model_dump_json(), (), memory_bytes=1 << 32))
    while isinstance(answer := messages.get(timeout=SECONDS), Beat):
        pass
    assert isinstance(answer, Refused)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_its_end_is_reported_with_the_signal_that_ended_it(scorer, number):
    messages, exits = listen(scorer)
    messages.get(timeout=SECONDS)
    kill(scorer.pid, number)
    assert exits.get(timeout=SECONDS) == -number


def test_ctrl_c_cannot_hit_it_not_even_before_its_first_line(scorer):
    """It goes to the whole group, and Python would print a traceback."""
    status = Path(f"/proc/{scorer.pid}/status").read_text()
    blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
    assert blocked == 1 << (signal.SIGINT - 1)


def test_what_a_dead_scorer_is_told_is_no_error(scorer):
    _, exits = listen(scorer)
    scorer.kill()
    exits.get(timeout=SECONDS)
    scorer.send(Prepare("{}", (), memory_bytes=1))
    scorer.close()
    scorer.close()


def test_its_private_folder_goes_with_it(scorer):
    _, exits = listen(scorer)
    folder = Path(tempfile.gettempdir()) / f"bij-scorer-{scorer.pid}-left"
    folder.mkdir()
    scorer.kill()
    exits.get(timeout=SECONDS)
    assert not folder.exists()


@pytest.fixture(params=["spawn", "fork"])
def driver(request):
    """A process that has started a scorer, whose process id it has printed."""
    script = DRIVER.format(start=request.param)
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it:
        yield it
        it.kill()


def test_it_dies_with_a_driver_that_is_killed(driver):
    pid = int(driver.stdout.readline())
    driver.kill()
    driver.wait()
    wait_for(
        lambda: not Path(f"/proc/{pid}/exe").exists(),
        seconds=5,
        what="the end of the scorer",
    )


def test_however_it_was_started_it_is_the_same_to_the_machine(driver):
    pid = int(driver.stdout.readline())
    wait_for(lambda: is_scorer(pid), seconds=SECONDS, what="its name")
    found = Path(f"/proc/{pid}")
    caught, blocked = caught_and_blocked(found / "status")
    assert signal.SIGTERM not in caught
    assert blocked == {signal.SIGINT}
    assert (found / "fd/0").readlink() == Path(os.devnull)
    assert (found / "fd/1").readlink() == (found / "fd/2").readlink()
    assert (found / "fd/2").readlink() == Path(f"/proc/{driver.pid}/fd/2").readlink()
    assert sum("socket:" in target for target in targets_of(found / "fd")) == 1


def targets_of(descriptors: Path) -> list[str]:
    """What a process has open; files that it imports from come and go meanwhile."""
    targets: list[str] = []
    for each in descriptors.iterdir():
        with suppress(FileNotFoundError):
            targets.append(str(each.readlink()))
    return targets


def caught_and_blocked(status: Path) -> tuple[set[int], set[int]]:
    """The signals with a handler and those that are blocked."""
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return signals(lines["SigCgt"]), signals(lines["SigBlk"])


def signals(mask: str) -> set[int]:
    return {number for number in range(1, 65) if int(mask, 16) >> (number - 1) & 1}


def test_what_libraries_print_does_not_reach_stdout():
    code = (
        "from batch_inference_runner.schedule import scorer_process as sp; "
        "sp._MAIN = \"print('noise')\"; scorer = sp.ScorerProcess.spawn(); scorer._end()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert (done.stdout, done.stderr) == ("", "noise\n")
