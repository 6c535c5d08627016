"""The process between a driver and its Ray cluster. The only module that imports ray.

Ray ends the process that uses it, with status 1, when the cluster's head is lost, and connecting to
it can take long and cannot be interrupted. Neither may happen to a driver: so a child of the driver
connects, and is simply killed. It tells which nodes there are, starts an agent for each scorer
that the driver wants, and passes messages on. It decides nothing.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from batch_inference_runner.parent_death import die_with_parent
from batch_inference_runner.schedule.ray_processes import (
    MEMORY_RESOURCE,
    SCORERS_RESOURCE,
    THREADS_RESOURCE,
)
from batch_inference_runner.schedule.ray_wire import Frame, Kind, receive_frame, send_frame
from batch_inference_runner.schedule.scorer_process import ScorerProcess
from batch_inference_runner.score.messages import decode, encode

if TYPE_CHECKING:
    from batch_inference_runner.score.messages import Message

_POLL_SECONDS = 0.5
_ANSWER_SECONDS = 1.0
"""An agent answers at least so often, whether or not its scorer has said anything."""
_CALL_SECONDS = 20.0
_START_SECONDS = 60.0
_SHUN_SECONDS = 10.0
"""A node on which something was lost is left alone for so long: until Ray would have noticed, if
the node itself is lost or stands still."""


def main() -> None:
    """Serve the driver behind the socket whose number is the first argument."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    die_with_parent(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver acts
    threading.excepthook = _end
    frames: queue.SimpleQueue[Frame] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, frames), daemon=True).start()
    ray.init(
        address=sys.argv[3],
        _node_ip_address=sys.argv[4],
        logging_level=logging.ERROR,
        log_to_driver=False,
        configure_logging=False,
        namespace="bij",
    )
    bridge = _Bridge(connection)
    threading.Thread(target=bridge.watch_nodes, daemon=True).start()
    while True:
        bridge.handle(frames.get())


def _receive(connection: socket.socket, frames: queue.SimpleQueue[Frame]) -> None:
    while (frame := receive_frame(connection)) is not None:
        frames.put(frame)
    os._exit(0)  # the driver has gone: nobody is left to serve


def _end(failed: threading.ExceptHookArgs) -> None:
    """End when a thread fails: without Ray there is nothing to do, and the driver starts anew."""
    sys.stderr.write(f"the Ray bridge ends: {failed.exc_type.__name__}\n")
    os._exit(1)


class _Bridge:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._scorers: dict[int, _Relay] = {}
        self._known: set[str] = set()
        self._shunned: dict[str, float] = {}
        self._changing = threading.Lock()
        """Held while nodes and their scorers come and go."""

    def tell(self, kind: Kind, scorer: int = 0, **fields: Any) -> None:
        self.forward(Frame(kind, scorer, json.dumps(fields).encode()))

    def forward(self, frame: Frame) -> None:
        try:
            send_frame(self._connection, self._sending, frame)
        except OSError:
            os._exit(0)

    def handle(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.SPAWN:
                fields = json.loads(frame.body)
                with self._changing:
                    if fields["node"] in self._known:  # else the driver will read so in a moment
                        relay = _Relay(self, frame.scorer, fields["node"], fields["gpu"])
                        self._scorers[frame.scorer] = relay
            case Kind.SEND | Kind.END:
                receiver = self._scorers.get(frame.scorer)
                if receiver is not None:
                    receiver.outbox.put(frame.body if frame.kind is Kind.SEND else None)
            case _:
                raise ValueError(f"frame {frame.kind!r} makes no sense here")

    def watch_nodes(self) -> None:
        nodes: Any = ray.nodes  # which has no types
        while True:
            alive = {
                node["NodeID"]: node["Resources"]
                for node in nodes()
                if node["Alive"] and SCORERS_RESOURCE in node["Resources"]
            }
            for node in self._known - alive.keys():
                self.lose(node)
            for node in alive.keys() - self._known:
                if time.monotonic() > self._shunned.get(node, 0.0):
                    self._join(node, alive[node])
            time.sleep(_POLL_SECONDS)

    def _join(self, node: str, resources: dict[str, float]) -> None:
        with self._changing:
            self._known.add(node)
        self.tell(
            Kind.JOINED,
            node=node,
            scorers=int(resources[SCORERS_RESOURCE]),
            threads=int(resources[THREADS_RESOURCE]),
            memoryBytes=int(resources[MEMORY_RESOURCE]) << 20,
        )

    def lose(self, node: str) -> None:
        """Do without a node, for a while if it turns out to be alive."""
        with self._changing:
            if node not in self._known:
                return
            self._known.discard(node)
            self._shunned[node] = time.monotonic() + _SHUN_SECONDS
            numbers = [number for number, relay in self._scorers.items() if relay.node == node]
            relays = [self._scorers.pop(number) for number in numbers]
        self.tell(Kind.LOST, node=node)
        for relay in relays:
            relay.abandon()

    def forget(self, scorer: int) -> None:
        """Do without a scorer that has ended."""
        with self._changing:
            self._scorers.pop(scorer, None)


class _Relay:
    """Passes messages between the driver and one scorer. Its agent's loss is its node's loss."""

    def __init__(self, bridge: _Bridge, number: int, node: str, gpu: int | None) -> None:
        self.node = node
        self.outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._bridge = bridge
        self._number = number
        self._abandoned = threading.Event()
        strategy = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        options = {"num_cpus": 0, "max_restarts": 0, "max_task_retries": 0, "max_concurrency": 4}
        remote: Any = ray.remote  # whose types know no options of actors
        actor = remote(scheduling_strategy=strategy, **options)(Agent)
        self._agent = actor.remote(gpu)
        for work in (self._pass_on, self._fetch):
            threading.Thread(target=self._guarded, args=(work,), daemon=True).start()

    def abandon(self) -> None:
        self._abandoned.set()
        self.outbox.put(None)
        try:
            ray.kill(self._agent)
        except ray.exceptions.RayError:
            return  # it has ended already

    def _guarded(self, work: Any) -> None:
        try:
            work()
        except (ray.exceptions.RayError, ValueError, OSError) as error:
            if not self._abandoned.is_set():
                logging.getLogger(__name__).warning("an agent was lost: %s", type(error).__name__)
                self._bridge.lose(self.node)

    def _pass_on(self) -> None:
        seconds = _START_SECONDS
        while not self._abandoned.is_set():
            frames: list[bytes | None] = [self.outbox.get()]
            while not self.outbox.empty():
                frames.append(self.outbox.get())
            # One call at a time, or an agent might see messages in another order.
            ray.get(self._agent.pass_on.remote(frames), timeout=seconds)
            seconds = _CALL_SECONDS

    def _fetch(self) -> None:
        ray.get(self._agent.pass_on.remote([]), timeout=_START_SECONDS)
        while not self._abandoned.is_set():
            frames, status = ray.get(self._agent.fetch.remote(), timeout=_CALL_SECONDS)
            for frame in frames:
                self._bridge.forward(Frame(Kind.MESSAGE, self._number, frame))
            if status is not None:
                self._bridge.tell(Kind.EXITED, self._number, status=status)
                self._bridge.forget(self._number)
                self.abandon()


class Agent:
    """Supervises one scorer on a node, by the same code as a driver does."""

    def __init__(self, gpu: int | None) -> None:
        self._frames: queue.SimpleQueue[bytes | int] = queue.SimpleQueue()
        self._scorer = ScorerProcess.spawn(gpu=gpu)
        self._scorer.listen(self._on_message, self._frames.put)

    def pass_on(self, frames: list[bytes | None]) -> None:
        """Give messages to the scorer; None ends it."""
        for frame in frames:
            if frame is None:
                self._scorer.kill()
            else:
                self._scorer.send(decode(frame))

    def fetch(self) -> tuple[list[bytes], int | None]:
        """Wait a little for messages of the scorer; with them its status once it has ended."""
        messages: list[bytes] = []
        try:
            item = self._frames.get(timeout=_ANSWER_SECONDS)
            while isinstance(item, bytes):
                messages.append(item)
                item = self._frames.get_nowait()
        except queue.Empty:
            return messages, None
        return messages, item

    def _on_message(self, message: Message) -> None:
        self._frames.put(encode(message))
