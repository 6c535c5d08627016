"""The isolator process: `python -m batch_inference_runner.models.isolator_child FD`.

A warden loads the model once and never calls it. For each request it forks a worker that inherits
the loaded model, scores micro-batch after micro-batch and reports each. When a worker crashes,
hangs or is killed, the warden knows from the reports which rows were being scored, and forks the
next worker there, to score those rows in smaller calls, at last one by one; a row that ends a
worker alone is reported as failed and skipped. So a poison row costs three forks, and the rows
beside it are scored.

On anything but the CPU a worker loads the model itself, because a device's context does not survive
a fork. numpy and ONNX Runtime only: the warden is small and has one thread, so that it can fork.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from batch_inference_runner.errors import JobFailed
from batch_inference_runner.models.calling import ModelCall
from batch_inference_runner.models.isolator_wire import (
    PREFIX_BYTES,
    Closed,
    call_limit_seconds,
    decode,
    encode,
    message_bytes,
    receive,
    send,
)
from batch_inference_runner.models.onnx import CPU, InferenceFailed, OnnxModel
from batch_inference_runner.parent_death import signal_at_parent_death

_LOAD_SECONDS = 600
_OUT_OF_MEMORY_EXIT = 3
_FEW = 32  # rows in a small call: reporting single rows costs more than another fork


class _Setup(NamedTuple):
    path: str
    provider: str
    outputs: tuple[str, ...]
    fixed_batch: int | None
    memory_bytes: int | None


@dataclass(slots=True)
class _Request:
    """Rows to score.

    `position` is the first row not yet reported; rows below `few_until` go in small calls, those
    below `single_until` one by one.
    """

    feeds: dict[str, npt.NDArray[Any]]
    rows: int
    batch: int
    call_seconds: float
    data_limit_bytes: int
    few_until: int = 0
    single_until: int = 0
    position: int = 0

    def stop(self) -> int:
        """Where the call that starts at `position` ends."""
        if self.position < self.single_until:
            return self.position + 1
        if self.position < self.few_until:
            return min(self.position + _FEW, self.few_until)
        return min(self.position + self.batch, self.rows)

    def narrow(self) -> bool:
        """Split the call at `position`, which failed; returns whether it was more than a row."""
        stop = self.stop()
        if stop - self.position > _FEW:
            self.few_until = stop
            return True
        if stop - self.position > 1:
            self.single_until = stop
            return True
        return False

    def limit_seconds(self) -> float:
        """How long the call at `position` may take."""
        rows = self.stop() - self.position
        return call_limit_seconds(self.call_seconds, rows=rows, batch_size=self.batch)


class _Warden:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        header, _ = receive(connection)
        self._setup = _Setup(
            path=header["path"],
            provider=header["provider"],
            outputs=tuple(header["outputs"]),
            fixed_batch=header["fixed_batch"],
            memory_bytes=header["memory_bytes"],
        )
        # A load that hangs must end even if nobody is left to notice.
        signal.alarm(_LOAD_SECONDS)
        self._call = _load(self._setup) if self._setup.provider == CPU else None
        signal.alarm(0)
        send(connection, {"event": "ready"})

    def serve(self) -> None:
        """Answer one request."""
        header, feeds = receive(self._connection)
        request = _Request(
            feeds=feeds,
            rows=header["rows"],
            batch=header["batch"],
            call_seconds=header["call_seconds"],
            data_limit_bytes=_data_limit_bytes(self._setup.memory_bytes),
        )
        while request.position < request.rows:
            self._run_worker(request)
        send(self._connection, {"event": "done"})

    def _run_worker(self, request: _Request) -> None:
        """Let one worker go on until it is done or lost, and decide about the rows it died on."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            self._connection.close()
            _work(self._setup, self._call, request, writer)
        os.close(writer)
        try:
            timed_out = self._forward(reader, pid, request)
        finally:
            os.close(reader)
            _, status = os.waitpid(pid, 0)
        if request.position >= request.rows:
            return
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) != _OUT_OF_MEMORY_EXIT:
            raise Closed  # not the row's doing: the worker itself is broken
        limit_seconds = request.limit_seconds()
        if request.narrow():
            return
        error, message = _verdict(status, timed_out_after=limit_seconds if timed_out else 0)
        send(
            self._connection,
            {"event": "failed", "row": request.position, "error": error, "message": message},
        )
        request.position += 1

    def _forward(self, reader: int, pid: int, request: _Request) -> bool:
        """Pass the worker's reports on until it ends; returns whether it had to be killed."""
        buffer = bytearray()
        loading = self._call is None
        deadline = time.monotonic() + (_LOAD_SECONDS if loading else request.limit_seconds())
        watched: list[int | socket.socket] = [reader, self._connection]
        while True:
            left = deadline - time.monotonic()
            ready, _, _ = select.select(watched, [], [], max(left, 0))
            if self._connection in ready:  # it says nothing while it waits: this is its end
                os.kill(pid, signal.SIGKILL)
                raise Closed
            if reader not in ready:
                os.kill(pid, signal.SIGKILL)
                return True
            data = os.read(reader, 1 << 20)
            if not data:
                return False
            buffer += data
            while len(buffer) >= PREFIX_BYTES and len(buffer) >= (size := message_bytes(buffer)):
                self._take(bytes(buffer[:size]), request)
                del buffer[:size]
                deadline = time.monotonic() + request.limit_seconds()

    def _take(self, message: bytes, request: _Request) -> None:
        header, _ = decode(message)
        match header["event"]:
            case "loaded":
                return
            case "narrow":
                request.narrow()
                return
            case "scored":
                request.position = header["stop"]
            case "failed":
                request.position = header["row"] + 1
            case "unfit":
                request.position = request.rows
        try:
            self._connection.sendall(message)
        except OSError as error:
            raise Closed from error


def _load(setup: _Setup) -> ModelCall:
    model = OnnxModel(Path(setup.path), providers=(setup.provider,))
    return ModelCall(model, setup.outputs, fixed_batch=setup.fixed_batch)


def _work(setup: _Setup, call: ModelCall | None, request: _Request, writer: int) -> NoReturn:
    """Score from `request.position` on in a forked process, which ends here."""
    code = 1
    try:
        signal_at_parent_death(signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if call is None:
            call = _load(setup)
            _report(writer, {"event": "loaded"})
        resource.setrlimit(resource.RLIMIT_DATA, (request.data_limit_bytes,) * 2)
        while request.position < request.rows:
            _score_next(call, request, writer)
        code = 0
    except MemoryError:
        code = _OUT_OF_MEMORY_EXIT
    except JobFailed as error:
        _report(writer, {"event": "unfit", "reason": error.reason, "message": error.message})
        code = 0
    except BaseException:  # noqa: BLE001 - the edge of a forked process: nothing may leave it
        traceback.print_exc()
    finally:
        os._exit(code)


def _score_next(call: ModelCall, request: _Request, writer: int) -> None:
    start, stop = request.position, request.stop()
    try:
        values = call({name: array[start:stop] for name, array in request.feeds.items()})
    except InferenceFailed as failure:
        if request.narrow():
            _report(writer, {"event": "narrow"})
            return
        _report(
            writer,
            {"event": "failed", "row": start, "error": failure.error, "message": failure.message},
        )
    else:
        _report(writer, {"event": "scored", "start": start, "stop": stop}, values)
    request.position = stop


def _report(
    writer: int, header: dict[str, Any], arrays: dict[str, npt.NDArray[Any]] | None = None
) -> None:
    view = memoryview(b"".join(encode(header, arrays)))
    while view:
        view = view[os.write(writer, view) :]


def _data_limit_bytes(memory_bytes: int | None) -> int:
    """Return where allocations should fail, which rejects a row, before the kernel kills others."""
    status = _kibibytes("/proc/self/status")
    allowed = memory_bytes or _kibibytes("/proc/meminfo").get("MemAvailable", 1 << 30) // 2
    limit = status.get("VmData", 0) + allowed
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    return limit if hard == resource.RLIM_INFINITY else min(limit, hard)


def _kibibytes(path: str) -> dict[str, int]:
    """Return the `Name:  123 kB` lines of a proc file, in bytes."""
    lines = Path(path).read_text().splitlines()
    fields = (line.replace(":", " ").split() for line in lines if line.endswith(" kB"))
    return {name: int(value) * 1024 for name, value, _ in fields}


def _verdict(status: int, *, timed_out_after: float) -> tuple[str, str]:
    """Return error class and message for a row that ended its worker."""
    if timed_out_after:
        return "TimedOut", f"the model did not answer within {timed_out_after:g} s on this row"
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) == signal.SIGKILL:
        return "OutOfMemory", "the model ran out of memory on this row and was killed"
    name = signal.Signals(os.WTERMSIG(status)).name
    return "Crashed", f"the model crashed on this row ({name})"


def main() -> int:
    """Serve requests until the other side is gone."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    np.seterr(all="ignore")
    try:
        warden = _Warden(connection)
        while True:
            warden.serve()
    except Closed:
        return 0


if __name__ == "__main__":
    sys.exit(main())
