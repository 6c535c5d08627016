"""The scorer's process: dies with the driver, takes messages, gives signs of life.

The kernel kills it when the thread that started it ends, and so does the end of the socket, even
while native code is stuck. It never decides to end by itself.
"""

from __future__ import annotations

import ctypes
import os
import queue
import socket
import sys
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, NoReturn

from batch_inference_runner import lean_imports
from batch_inference_runner.parent_death import die_with_parent
from batch_inference_runner.score.messages import OUT_OF_MEMORY, Message, receive, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch_inference_runner.score.scorer import Scorer

_BEAT_SECONDS = 0.2
_PR_SET_NAME = 15


def main() -> None:
    """Serve the driver: the arguments are the number of the socket to it, and its process id."""
    serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))


def serve(connection: socket.socket, driver: int) -> NoReturn:
    """Be a scorer of the driver with this process id, which is the parent, until it is killed."""
    die_with_parent(driver)
    _name_process("bij-scorer")
    inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
    connection.set_inheritable(False)  # a child that outlived us would keep the driver waiting
    try:
        _serve(connection, inbox)
    except (MemoryError, RuntimeError, ImportError) as error:
        if not _is_out_of_memory(error):
            raise
        os._exit(OUT_OF_MEMORY)


def _serve(connection: socket.socket, inbox: queue.SimpleQueue[Message]) -> NoReturn:
    _start(_receive, connection, inbox)
    import_libraries()
    from batch_inference_runner.score.scorer import Scorer

    sending = threading.Lock()

    def send_to_driver(message: Message) -> None:
        with sending:
            send(connection, message)

    scorer = Scorer(send_to_driver)
    _start(_beat, scorer, send_to_driver)
    while True:
        scorer.handle(inbox.get())


_UNNEEDED = (
    *("pandas", "cloudpickle", "bz2", "lzma"),
    *("pyarrow._s3fs", "pyarrow._gcsfs", "pyarrow._azurefs", "pyarrow._hdfs"),
)


def import_libraries() -> None:
    """Import what scorers need, without what that can do without: pandas alone takes 0.3 s.

    Parquet and folders too, although only some jobs have them: the driver is not ready to ask for
    anything yet.
    """
    lean_imports.refuse(*_UNNEEDED)
    no_certificates = SimpleNamespace(cafile=None, capath=None)
    with (
        lean_imports.uncollected(),
        lean_imports.uncompiled(),
        lean_imports.deferred("ast", "ipaddress", "pickle"),
        lean_imports.deferred("platform", system=lambda: os.uname().sysname),
    ):
        _import_numpy()
        with lean_imports.replaced("ssl", get_default_verify_paths=lambda: no_certificates):
            import pyarrow.fs  # (it looks for the certificates of its own S3 client)
        with lean_imports.deferred("inspect"):
            import pyarrow.parquet  # noqa: F401
        import batch_inference_runner.formats.parquet_files
        import batch_inference_runner.score.scorer
        import batch_inference_runner.storage.folder
        import batch_inference_runner.storage.local_file  # noqa: F401


def _import_numpy() -> None:
    """Import NumPy without the docstrings of its C functions, nor what only annotations name.

    Nor their signatures, for which it imports `inspect`: that takes 20 ms.
    """
    for name in ("numpy._core._add_newdocs", "numpy._core._add_newdocs_scalars"):
        lean_imports.replace(name)
    with (
        lean_imports.replaced("numpy._typing", __getattr__=lambda _: list),
        lean_imports.deferred("inspect", cleandoc=str, signature=lambda _: None),
    ):
        import numpy as np  # noqa: F401


def _name_process(name: str) -> None:
    """Show this process by a name of up to 15 characters, as `top` and `ps -o comm` do."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode())


def _is_out_of_memory(error: Exception) -> bool:
    """Say whether a thread's stack, a library or an object found no room."""
    words = str(error)
    no_room = ("can't start new thread", "failed to map segment", "annot allocate memory")
    return isinstance(error, MemoryError) or any(each in words for each in no_room)


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
