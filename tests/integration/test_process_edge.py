"""What our processes do before and around their commands: streams that are broken, signals."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from testkit.broken_streams import STDERR, STDOUT, in_shell
from testkit.jobs import BIJ, Job
from testkit.small_jobs import linear_job

INTERRUPTED = """
import os, signal, sys
from batch_inference_runner import __main__
__main__.main = lambda: os.kill(os.getpid(), getattr(signal, sys.argv[1]))
__main__.run_process()
"""
ENDED_AT_IMPORT = """
import signal, sys
from batch_inference_operator import __main__
class TermAtImportOfKopf:
    def find_spec(self, name, *_):
        if name == "kopf":
            signal.raise_signal(signal.SIGTERM)
sys.meta_path.insert(0, TermAtImportOfKopf())
__main__.main()
"""
CHILD_OF_CLOSED = """
import os
from batch_inference_api import standard_streams
standard_streams.make_safe()
child = os.posix_spawn("/bin/sh", ["sh", "-c", ": <&0 >&1 2>&2 && : 3>&2"], os.environ)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
BESIDE_A_THREAD = """
import sys, threading
from {package} import __main__
def work(*_):
    threading.Thread(target=threading.Event().wait).start()
    sys.stdout.write("told")
    {end}
__main__.{work} = work
sys.argv[1:] = ["wait", "job"]
__main__.{entry}()
"""
PROGRAMS = {
    "bij": {"package": "batch_inference_runner", "work": "main", "entry": "run_process"},
    "kubectl bij": {
        "package": "batch_inference_operator.kubectl_bij",
        "work": "run",
        "entry": "main",
    },
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Job:
    job = linear_job(tmp_path_factory.mktemp("finished"))
    ended = subprocess.run([*BIJ, "run", job.write()], capture_output=True, timeout=60, check=True)
    assert ended.stdout
    return job


@pytest.mark.parametrize("streams", STDOUT.values(), ids=STDOUT.keys())
@pytest.mark.parametrize("command", ["run", "validate", "verify", "gc", "schema", "--help"])
def test_a_command_succeeds_although_nobody_can_be_told(finished, command, streams):
    subject = {"run": finished.write(), "validate": finished.write(), "schema": "spec"}
    subject |= {"verify": finished.output, "gc": finished.output}
    ended = in_shell(streams, *BIJ, command, *([subject[command]] if command in subject else []))
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ("stdout cannot be written: No space left" in ended.stderr) is (
        streams == STDOUT["full"]
    )
    if streams == STDOUT["closed"]:
        assert "stdout" not in ended.stderr


@pytest.mark.parametrize("streams", [*STDERR.values(), "<&- >&- 2>&-"], ids=[*STDERR, "all closed"])
def test_a_run_scores_although_it_cannot_say_how_it_goes(tmp_path, streams):
    job = linear_job(tmp_path)
    assert in_shell(streams, *BIJ, "run", job.write()).returncode == 0
    assert (job.output / "_SUCCESS").exists()


@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_child_processes_get_streams_as_well(streams):
    """A data file that they open must not become their stderr."""
    assert in_shell(streams, sys.executable, "-c", CHILD_OF_CLOSED).returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_before_the_command_has_begun_is_an_interruption(number, code):
    words = [sys.executable, "-c", INTERRUPTED, number.name]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", "")


def test_an_operator_that_is_told_to_end_while_it_imports_does():
    """As process 1 of a container it has to: there the signal's default is to be dropped."""
    assert ending_of(ENDED_AT_IMPORT) == (143, "", "")


def test_a_signal_that_the_shell_ignores_stays_ignored():
    """As Ctrl-C does of a command that a script has put into the background."""
    words = ["bash", "-c", "trap '' INT; exec \"$@\"", "bash", sys.executable, "-c", INTERRUPTED]
    assert subprocess.run([*words, "SIGINT"], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_a_thread_that_waits_holds_up_no_end(program):
    script = BESIDE_A_THREAD.format(**program, end="return 2")
    assert ending_of(script) == (2, "told", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nor_that_of_a_command_that_is_told_to_end(number):
    end = f"import signal; signal.raise_signal({int(number)})"
    script = BESIDE_A_THREAD.format(**PROGRAMS["kubectl bij"], end=end)
    code, said, _ = ending_of(script)
    assert (code, said) == (128 + number, "told")


def ending_of(script: str) -> tuple[int, str, str]:
    words = [sys.executable, "-c", script]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    return ended.returncode, ended.stdout, ended.stderr
