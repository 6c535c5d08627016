"""Scorers for runs inside a test's process, forked from a process that has imported everything.

What scorers import takes most of the time of a small run. They are processes of their own all the
same: children of the test's process, which they die with, and which kills them. A `bij` that runs
as a process starts its own.

The nursery must never start a thread (of pyarrow, ONNX Runtime or its own): forks would inherit
locks.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from batch_inference_runner.schedule import scorer_process
from batch_inference_runner.schedule.scorer_process import ScorerProcess
from batch_inference_runner.score import process

_PR_SET_CHILD_SUBREAPER = 36
_MOST_BYTES = 1 << 17


def import_for_forks(*modules: str) -> None:
    """Import what a scorer imports while it starts, what it imports later, and these modules."""
    process.import_libraries()
    for module in (
        "batch_inference_runner.models.onnx",
        "obstore.store",
        "pyarrow.compute",
        "pyarrow.parquet",
        *modules,
    ):
        import_module(module)


def importable(environment: Mapping[str, str]) -> dict[str, str]:
    """Let a process with this environment import the testkit."""
    tests = str(Path(__file__).parents[1])
    others = environment.get("PYTHONPATH", "").split(os.pathsep)
    return {**environment, "PYTHONPATH": os.pathsep.join([tests, *filter(None, others)])}


@cache
def nursery() -> ScorerNursery:
    """The one of this process, which ends with it."""
    return ScorerNursery()


class ScorerNursery:
    """Stands in for `ScorerProcess.spawn`."""

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._asking = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "testkit.scorer_nursery", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=importable(scorer_process._environment(None)),
            )

    def spawn(self, *, gpu: int | None = None) -> ScorerProcess:
        """Have a scorer forked in this environment, folder and stderr, and adopt it."""
        ours, theirs = socket.socketpair()
        request = {"environment": scorer_process._environment(gpu), "folder": str(Path.cwd())}
        with theirs, self._asking, _adopting_orphans():
            message = json.dumps(request).encode()
            socket.send_fds(self._connection, [message], [theirs.fileno(), 2])
            pid = int(self._connection.recv(_MOST_BYTES))
        return ScorerProcess(pid, ours)


@contextmanager
def _adopting_orphans() -> Iterator[None]:
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0)


def main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    adopter = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # as `ScorerProcess.fork` does
    import_for_forks()
    while True:
        request, descriptors, *_ = socket.recv_fds(connection, _MOST_BYTES, 2)
        if not request:
            return
        pid = _fork_orphan(json.loads(request), descriptors, adopter)
        for descriptor in descriptors:
            os.close(descriptor)
        connection.send(str(pid).encode())


def _fork_orphan(request: dict, descriptors: list[int], adopter: int) -> int:
    """Fork a scorer whose parent has ended once this returns, so that it is the adopter's."""
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        scorer = os.fork()
        if scorer == 0:
            _be_scorer(request, descriptors, adopter)
        os.write(writing, str(scorer).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        os.waitpid(parent, 0)
        return int(pipe.read(20))


def _be_scorer(request: dict, descriptors: list[int], adopter: int) -> NoReturn:
    connection, stderr = descriptors
    try:
        while os.getppid() != adopter:
            time.sleep(0.0005)
        os.dup2(stderr, 2)
        connection = os.dup2(connection, 3)
        os.closerange(connection + 1, 1024)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        scorer_process._be_scorer(socket.socket(fileno=connection), adopter)
    finally:
        os._exit(1)  # a fork must not return


if __name__ == "__main__":
    main()
