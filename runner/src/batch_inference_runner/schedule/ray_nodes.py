"""Scorers on other nodes, as the driver sees them.

Ray carries messages and starts processes, nothing else: no rows, no retries, no scheduling. A small
agent on each node supervises the same scorer child as the driver does, by the same code. The head
starts when the first worker asks to join, beside the run and never in its way: a run of one process
pays nothing for Ray. When the head or the bridge to it is lost the driver goes on with its own
scorers and starts a new head, which workers recognise by its attempt id, and join.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import select
import socket
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from batch_inference_runner.schedule import ray_processes
from batch_inference_runner.schedule.ray_wire import Frame, Kind, receive_frame, send_frame
from batch_inference_runner.schedule.slot import Slot
from batch_inference_runner.score.messages import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch_inference_runner.schedule.dispatch import Dispatch
    from batch_inference_runner.score.messages import Message

_logger = logging.getLogger(__name__)
_POLL_SECONDS = 0.2
_HEAD_START_SECONDS = 60.0
_RESTART_SECONDS = 2.0
_CLOSE_SECONDS = 5.0
_BRIDGE = "from batch_inference_runner.schedule.ray_bridge import main; main()"


@dataclass(frozen=True, slots=True)
class NodeJoined:
    """A node can take scorers."""

    node: str
    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class NodeLost:
    """A node has gone, with all that ran on it."""

    node: str


class RayNodes:
    """The other members of a run.

    Args:
        ip: the address under which this host is reached.
        token_path: the file with the run's token.
        gpus: whether each scorer of a node gets a GPU of its own.
    """

    def __init__(self, *, ip: str, token_path: str, gpus: bool = False) -> None:
        self._ip = ip
        self._token_path = token_path
        self._gpus = gpus
        self._invitation: dict[str, str] | None = None
        self._wanted = threading.Event()
        self._closed = threading.Event()
        self._slots: dict[str, tuple[Slot, ...]] = {}
        self._report: Callable[[object], None] | None = None
        self._thread: threading.Thread | None = None

    def start(self, report: Callable[[object], None]) -> None:
        """Bring the head up in the background once somebody wants to join; report what joins."""
        self._report = report
        self._thread = threading.Thread(
            target=self._work, args=(report,), name="ray-nodes", daemon=True
        )
        self._thread.start()

    def expect_workers(self) -> None:
        """Start the head without waiting for the first worker to ask."""
        self._wanted.set()

    def join(self) -> dict[str, str] | None:
        """Tell a worker where to join; None while the head is coming up."""
        self._wanted.set()
        return self._invitation

    def on_event(self, dispatch: Dispatch, event: object) -> None:
        """Let a node that joined take part, do without one that was lost."""
        match event:
            case NodeJoined(node=node, slots=slots):
                assert self._report is not None
                self._slots[node] = slots
                for slot in slots:
                    slot.start(self._report)
                    dispatch.add(slot)
            case NodeLost(node=node):
                for slot in self._slots.pop(node):
                    dispatch.remove(slot)
            case _:
                raise TypeError(f"nobody handles {type(event).__name__!r}")

    def close(self) -> None:
        """Leave the cluster and end the head; returns soon, whatever Ray is doing."""
        self._closed.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)

    def _work(self, report: Callable[[object], None]) -> None:
        self._wanted.wait()
        while not self._closed.is_set():
            try:
                self._run_cluster(report)
            except (OSError, RuntimeError):
                # The run goes on with what this process has, and workers keep asking.
                _logger.exception("Ray's head did not start; it is tried again")
            self._closed.wait(_RESTART_SECONDS)

    def _run_cluster(self, report: Callable[[object], None]) -> None:
        """Start a head and a bridge to it, and serve them until one of them is lost."""
        (port,) = ray_processes.free_ports(self._ip, 1)
        head = ray_processes.start_head(ip=self._ip, port=port, token_path=self._token_path)
        address = f"{self._ip}:{port}"
        # Workers need some seconds to start Ray, so they need not wait until the head listens.
        self._invitation = {"address": address, "attempt": uuid.uuid4().hex[:16]}
        try:
            if not self._wait_for_port(port, head):
                return
            bridge = _Bridge(address, ip=self._ip, token_path=self._token_path)
            try:
                self._serve(bridge, head, report)
            finally:
                bridge.close()
        finally:
            self._invitation = None
            head.stop()

    def _serve(
        self, bridge: _Bridge, head: ray_processes.RayNode, report: Callable[[object], None]
    ) -> None:
        nodes: set[str] = set()
        while not self._closed.is_set() and head.is_running:
            if not bridge.is_readable(_POLL_SECONDS):
                continue
            frame = bridge.receive()
            if frame is None:
                break
            self._on_frame(bridge, frame, nodes, report)
        for node in nodes:
            report(NodeLost(node))
        if not self._closed.is_set():
            _logger.warning("Ray's head was lost; scoring goes on here, and a new head is started")

    def _on_frame(
        self, bridge: _Bridge, frame: Frame, nodes: set[str], report: Callable[[object], None]
    ) -> None:
        match frame.kind:
            case Kind.JOINED:
                fields = json.loads(frame.body)
                nodes.add(fields["node"])
                _logger.info("a worker joined", extra={"node": fields["node"][:8]})
                report(NodeJoined(fields["node"], self._slots_of(bridge, fields)))
            case Kind.LOST:
                node = json.loads(frame.body)["node"]
                nodes.discard(node)
                _logger.warning("a worker was lost", extra={"node": node[:8]})
                report(NodeLost(node))
            case _:
                bridge.hand_over(frame)

    def _slots_of(self, bridge: _Bridge, fields: dict[str, int | str]) -> tuple[Slot, ...]:
        node = str(fields["node"])
        return tuple(
            Slot(
                name=f"node-{node[:8]}-{number}",
                spawn=partial(bridge.spawn, node, number if self._gpus else None),
                threads=int(fields["threads"]),
                memory_bytes=int(fields["memoryBytes"]),
                has_gpu=self._gpus,
            )
            for number in range(int(fields["scorers"]))
        )

    def _wait_for_port(self, port: int, head: ray_processes.RayNode) -> bool:
        """Wait until the head listens; False when the run ended meanwhile."""
        deadline = time.monotonic() + _HEAD_START_SECONDS
        while not self._closed.wait(0.05):
            if not head.is_running:
                raise RuntimeError(f"ray start ended with status {head.keeper.returncode}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"nobody listened on port {port} in {_HEAD_START_SECONDS:.0f} s")
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex((self._ip, port)) == 0:
                    return True
        return False


class _Bridge:
    """The child that talks to Ray (see ray_bridge), and the scorers behind it."""

    def __init__(self, address: str, *, ip: str, token_path: str) -> None:
        self._connection, theirs = socket.socketpair()
        self._sending = threading.Lock()
        self._numbers = itertools.count(1)
        self._scorers: dict[int, _RemoteScorer] = {}
        with theirs:
            command = [sys.executable, "-P", "-c", _BRIDGE]
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno()), str(os.getpid()), address, ip],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,
                env={**os.environ, **ray_processes.environment(token_path)},
                start_new_session=True,  # signals to the group are for the driver, which acts
            )

    def is_readable(self, seconds: float) -> bool:
        return bool(select.select([self._connection], [], [], seconds)[0])

    def receive(self) -> Frame | None:
        return receive_frame(self._connection)

    def hand_over(self, frame: Frame) -> None:
        scorer = self._scorers[frame.scorer]
        if frame.kind is Kind.MESSAGE:
            scorer.on_message(decode(frame.body))
        else:
            del self._scorers[frame.scorer]
            scorer.on_exit(json.loads(frame.body)["status"])

    def spawn(self, node: str, gpu: int | None) -> _RemoteScorer:
        place = json.dumps({"node": node, "gpu": gpu}).encode()
        return _RemoteScorer(self, next(self._numbers), place)

    def start(self, scorer: _RemoteScorer, place: bytes) -> None:
        self._scorers[scorer.number] = scorer
        self.tell(Frame(Kind.SPAWN, scorer.number, place))

    def tell(self, frame: Frame) -> None:
        try:
            send_frame(self._connection, self._sending, frame)
        except OSError:
            return  # the bridge is lost, and with it its nodes: that is reported for all at once

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._connection.close()


class _RemoteScorer:
    """A scorer on another node; messages come and go through the bridge."""

    def __init__(self, bridge: _Bridge, number: int, place: bytes) -> None:
        self.number = number
        self._bridge = bridge
        self._place = place

    def listen(self, on_message: Callable[[Message], None], on_exit: Callable[[int], None]) -> None:
        """Start the scorer; if its node is lost, that is reported instead of its exit."""
        self.on_message, self.on_exit = on_message, on_exit
        self._bridge.start(self, self._place)

    def send(self, message: Message) -> None:
        self._bridge.tell(Frame(Kind.SEND, self.number, encode(message)))

    def kill(self) -> None:
        self._bridge.tell(Frame(Kind.END, self.number, b""))

    def close(self) -> None:
        self.kill()
