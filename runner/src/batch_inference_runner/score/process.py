"""The scorer's process: dies with the driver, takes messages, gives signs of life.

The kernel kills it when the thread that spawned it ends, and so does the end of the socket, even
while native code is stuck. It never decides to end by itself.
"""

from __future__ import annotations

import importlib.abc
import os
import queue
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

from batch_inference_runner.parent_death import die_with_parent
from batch_inference_runner.score.messages import Message, receive, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch_inference_runner.score.scorer import Scorer

_BEAT_SECONDS = 0.2


def main() -> None:
    """Serve the driver behind the socket whose number is the first argument."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    die_with_parent(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver acts
    inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
    connection.set_inheritable(False)  # a child that outlived us would keep the driver waiting
    _start(_receive, connection, inbox)
    sys.meta_path.insert(0, _NotImported())
    from batch_inference_runner.score.scorer import Scorer

    sending = threading.Lock()

    def send_to_driver(message: Message) -> None:
        with sending:
            send(connection, message)

    scorer = Scorer(send_to_driver)
    _start(_beat, scorer, send_to_driver)
    while True:
        scorer.handle(inbox.get())


_UNNEEDED = frozenset(
    (
        *("pandas", "cloudpickle"),
        *("pyarrow._s3fs", "pyarrow._gcsfs", "pyarrow._azurefs", "pyarrow._hdfs"),
    )
)


class _NotImported(importlib.abc.MetaPathFinder):
    """Keeps pyarrow from importing what it can do without: pandas alone would take 0.3 s."""

    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname in _UNNEEDED:
            raise ModuleNotFoundError(f"{fullname} is not needed here", name=fullname)


def _start(work: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=work, args=arguments, name=work.__name__, daemon=True).start()


def _receive(connection: socket.socket, inbox: queue.SimpleQueue[Message]) -> None:
    while (message := receive(connection)) is not None:
        inbox.put(message)
    os._exit(0)  # the driver has gone: nobody is left to report to


def _beat(scorer: Scorer, send_to_driver: Callable[[Message], None]) -> None:
    while True:
        send_to_driver(scorer.beat(time.monotonic()))
        time.sleep(_BEAT_SECONDS)
