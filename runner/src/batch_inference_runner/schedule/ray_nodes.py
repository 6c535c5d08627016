"""Scorers on other nodes. The only module that imports ray.

Ray carries messages and starts processes, nothing else: no rows, no retries, no scheduling. A small
agent actor on each node supervises the same scorer child as the driver does, by the same code, and
relays its messages.

The head starts when the first worker asks to join, beside the run and never in its way: a run of
one process pays nothing for Ray.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_inference_runner.schedule import ray_processes
from batch_inference_runner.schedule.slot import Slot
from batch_inference_runner.score.messages import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch_inference_runner.schedule.dispatch import Dispatch
    from batch_inference_runner.score.messages import Message

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 1.0
_HEAD_START_SECONDS = 60.0
_RELAY_SECONDS = 0.2
_CALL_SECONDS = 30.0
_SIGKILL_STATUS = -9


@dataclass(frozen=True, slots=True)
class NodeJoined:
    """A node can take a scorer."""

    slot: Slot
    node_id: str


@dataclass(frozen=True, slots=True)
class NodeLost:
    """A node has gone, with all that ran on it."""

    node_id: str


class RayNodes:
    """The other members of a run. `ip` is the address under which this host is reached."""

    def __init__(self, *, ip: str, token_path: str) -> None:
        self._ip = ip
        self._token_path = token_path
        self._attempt = uuid.uuid4().hex[:16]
        self._address: str | None = None
        self._wanted = threading.Event()
        self._closed = threading.Event()
        self._head: ray_processes.RayNode | None = None
        self._slots: dict[str, Slot] = {}
        self._thread: threading.Thread | None = None

    def start(self, report: Callable[[object], None]) -> None:
        """Bring the head up in the background once somebody wants to join; report what joins."""
        self._thread = threading.Thread(
            target=self._work, args=(report,), name="ray-nodes", daemon=True
        )
        self._thread.start()

    def join(self) -> dict[str, str] | None:
        """Tell a worker where to join; None while the head is coming up."""
        self._wanted.set()
        if self._address is None:
            return None
        return {"address": self._address, "attempt": self._attempt}

    def on_event(self, dispatch: Dispatch, event: object) -> None:
        """Let a node that joined take part, do without one that was lost."""
        match event:
            case NodeJoined(slot=slot, node_id=node_id):
                self._slots[node_id] = slot
                dispatch.add(slot)
            case NodeLost(node_id=node_id):
                dispatch.remove(self._slots.pop(node_id))
            case _:
                raise TypeError(f"nobody handles {type(event).__name__!r}")

    def close(self) -> None:
        """Leave the cluster and end the head, and with it the members' Ray processes."""
        self._closed.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(_CALL_SECONDS)
        if self._head is not None:
            self._head.stop()

    def _work(self, report: Callable[[object], None]) -> None:
        self._wanted.wait()
        if self._closed.is_set():
            return
        try:
            ray = self._connect()
        except (OSError, RuntimeError, ConnectionError, TimeoutError) as error:
            # The run goes on with what this process has; workers keep asking and are refused.
            _LOG.error("Ray's head did not start; scoring goes on in this pod", exc_info=error)
            return
        try:
            self._watch(ray, report)
        finally:
            ray.shutdown()

    def _connect(self) -> Any:
        port = _free_port(self._ip)
        folder = Path(tempfile.mkdtemp(prefix="bij-ray-"))
        self._head = ray_processes.start_head(
            ip=self._ip, port=port, token_path=self._token_path, folder=folder
        )
        _wait_for_port(self._ip, port, self._head)
        os.environ.update(ray_processes.environment(self._token_path))
        import ray

        address = f"{self._ip}:{port}"
        ray.init(
            address=address,
            _node_ip_address=self._ip,
            logging_level=logging.ERROR,
            log_to_driver=False,
            configure_logging=False,
            namespace="bij",
        )
        self._address = address
        return ray

    def _watch(self, ray: Any, report: Callable[[object], None]) -> None:
        known: set[str] = set()
        while not self._closed.wait(_POLL_SECONDS):
            alive = {
                node["NodeID"]: node["Resources"]
                for node in ray.nodes()
                if node["Alive"] and ray_processes.WORKER_RESOURCE in node["Resources"]
            }
            for node_id in alive.keys() - known:
                self._add(ray, node_id, alive[node_id], report)
            for node_id in known - alive.keys():
                report(NodeLost(node_id))
            known = set(alive)

    def _add(
        self, ray: Any, node_id: str, resources: dict[str, float], report: Callable[..., None]
    ) -> None:
        slot = Slot(
            name=f"node-{node_id[:8]}",
            spawn=partial(_RemoteScorer, ray, node_id),
            threads=int(resources[ray_processes.THREADS_RESOURCE]),
            memory_bytes=int(resources[ray_processes.MEMORY_RESOURCE]) << 20,
        )
        slot.start(report)
        report(NodeJoined(slot, node_id))


class _RemoteScorer:
    """A scorer on another node: an agent actor supervises it, a thread here relays messages."""

    def __init__(self, ray: Any, node_id: str) -> None:
        self._ray = ray
        self._outbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._killed = threading.Event()
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            node_id=node_id, soft=False
        )
        actor = ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0)(Agent)
        self._agent = actor.options(scheduling_strategy=strategy).remote()

    def listen(
        self, on_message: Callable[[Message], None], on_exit: Callable[[int], None]
    ) -> threading.Thread:
        thread = threading.Thread(target=self._relay, args=(on_message, on_exit), daemon=True)
        thread.start()
        return thread

    def send(self, message: Message) -> None:
        self._outbox.put(encode(message))

    def kill(self) -> None:
        self._killed.set()

    def close(self) -> None:
        self._killed.set()
        try:
            self._ray.kill(self._agent)
        except self._ray.exceptions.RayError:
            return  # it has ended already

    def _relay(self, on_message: Callable[[Message], None], on_exit: Callable[[int], None]) -> None:
        status: int | None = None
        while status is None and not self._killed.is_set():
            outgoing = []
            while not self._outbox.empty():
                outgoing.append(self._outbox.get())
            try:
                call = self._agent.exchange.remote(outgoing)
                frames, status = self._ray.get(call, timeout=_CALL_SECONDS)
            except self._ray.exceptions.RayError:
                break  # agent or node are lost, or too slow to be of use
            for frame in frames:
                on_message(decode(frame))
        self.close()
        on_exit(_SIGKILL_STATUS if status is None else status)


class Agent:
    """Supervises one scorer child on a node, by the same code as the driver does."""

    def __init__(self) -> None:
        from batch_inference_runner.schedule.scorer_process import ScorerProcess

        self._frames: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._status: int | None = None
        self._scorer = ScorerProcess.spawn()
        self._listener = self._scorer.listen(
            lambda message: self._frames.put(encode(message)), self._on_exit
        )

    def exchange(self, frames: list[bytes]) -> tuple[list[bytes], int | None]:
        """Pass messages on, wait a little for answers; the status once the scorer has ended."""
        for frame in frames:
            self._scorer.send(decode(frame))
        status = self._status  # before the queue is emptied, so that nothing is lost
        answers = []
        try:
            answers.append(self._frames.get(timeout=_RELAY_SECONDS))
            while True:
                answers.append(self._frames.get_nowait())
        except queue.Empty:
            return answers, status if not answers else None

    def _on_exit(self, status: int) -> None:
        self._status = status


def _free_port(ip: str) -> int:
    with socket.socket() as probe:
        probe.bind((ip, 0))
        return int(probe.getsockname()[1])


def _wait_for_port(ip: str, port: int, head: ray_processes.RayNode) -> None:
    deadline = time.monotonic() + _HEAD_START_SECONDS
    while time.monotonic() < deadline:
        if not head.is_running:
            raise RuntimeError(f"ray start ended with status {head.process.returncode}")
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((ip, port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(f"Ray's head did not listen on port {port} in {_HEAD_START_SECONDS:.0f} s")
