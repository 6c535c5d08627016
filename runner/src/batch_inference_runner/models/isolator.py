"""Scores in a process that native code may crash, hang or exhaust, row by row where it does.

Slower than scoring in place, so it is only for shards that already lost a scorer.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import JobFailed, Unavailable
from batch_inference_runner.models.isolator_wire import Closed, receive, send
from batch_inference_runner.models.onnx import InferenceFailed

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from batch_inference_runner.models.feeds import Feeds

    Array = npt.NDArray[Any]

_REQUEST_BYTES = 64 * 1024 * 1024


class Isolation(NamedTuple):
    """What an isolator process needs to know. It uses one thread: only then may it fork."""

    path: Path
    provider: str
    outputs: tuple[str, ...]
    fixed_batch: int | None
    call_timeout_seconds: float
    memory_bytes: int | None = None
    """How much a call may allocate; None: half of what is free when it starts."""


class Sink(Protocol):
    """Takes scores and failures as they come."""

    def put(self, start: int, stop: int, values: Mapping[str, Array]) -> None: ...
    def fail(self, row: int, error: str, message: str) -> None: ...


class Isolator:
    """One isolator process, started when it is first needed; for one thread at a time."""

    def __init__(self, isolation: Isolation) -> None:
        self._isolation = isolation
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    def score(self, feeds: Feeds, sink: Sink, *, batch_size: int) -> None:
        """Score all rows of `feeds` in micro-batches; rows that cannot be scored fail alone.

        Raises:
            JobFailed: the model does not score row by row.
            Unavailable: the process was lost for a reason that is not a row's.
        """
        if not feeds.size:
            return
        row_bytes = max(1, sum(array.nbytes for array in feeds.rows(0, 1).values()))
        step = max(1, _REQUEST_BYTES // row_bytes // batch_size) * batch_size
        for first in range(0, feeds.size, step):
            rows = min(step, feeds.size - first)
            arrays = feeds.rows(first, first + rows)
            for header, values in self._events(arrays, rows, batch_size):
                if header["event"] == "scored":
                    sink.put(first + header["start"], first + header["stop"], values)
                else:
                    sink.fail(first + header["row"], header["error"], header["message"])

    def call(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Score a few rows in one call (see `calling.Call`)."""
        rows = len(next(iter(feeds.values())))
        parts: list[dict[str, Array]] = []
        failures: list[InferenceFailed] = []
        for header, values in self._events(feeds, rows, rows):
            if header["event"] == "scored":
                parts.append(values)
            else:
                failures.append(InferenceFailed(header["error"], header["message"]))
        if failures:
            raise failures[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def close(self) -> None:
        """End the process."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._connection = None

    def _events(
        self, arrays: Mapping[str, Array], rows: int, batch_size: int
    ) -> Iterator[tuple[dict[str, Any], dict[str, Array]]]:
        request = {
            "rows": rows,
            "batch": batch_size,
            "call_seconds": self._isolation.call_timeout_seconds,
        }
        finished = False
        try:
            connection = self._connection or self._start()
            send(connection, request, arrays)
            while (message := receive(connection))[0]["event"] != "done":
                header = message[0]
                if header["event"] == "unfit":
                    raise JobFailed(Reason(header["reason"]), header["message"])
                yield message
            finished = True
        except Closed as error:
            raise Unavailable(
                "the process that isolates failing rows was lost; the shard is tried again"
            ) from error
        finally:
            if not finished:  # whatever it still says belongs to no request
                self.close()

    def _start(self) -> socket.socket:
        import subprocess

        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _CHILD, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # A pool of threads would not survive the forks.
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        self._connection = ours
        send(ours, {**self._isolation._asdict(), "path": str(self._isolation.path)})
        receive(ours)
        return ours


_CHILD = "batch_inference_runner.models.isolator_child"
