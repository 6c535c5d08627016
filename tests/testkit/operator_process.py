"""The operator as a process of this machine, watching one namespace of the test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from testkit.deadlines import wait_for

_READY_SECONDS = 60


class OperatorProcess:
    """A running operator, and what it logs."""

    def __init__(self, kubeconfig: Path, namespace: str, log: Path, **settings: str) -> None:
        """Start it, with settings by their environment variables."""
        self._log = log
        environment = {name: value for name, value in os.environ.items() if "BIO_" not in name}
        own = {
            "BIO_NAMESPACE": namespace,
            "BIO_WATCH_NAMESPACES": namespace,
            "BIO_HEALTH_PORT": "0",
        }
        with log.open("w", encoding="utf-8") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "batch_inference_operator"],
                stderr=stderr,
                env={**environment, "KUBECONFIG": str(kubeconfig), **own, **settings},
            )

    def records(self) -> list[dict[str, Any]]:
        """What it has logged so far, as values."""
        lines = self._log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

    def messages(self) -> list[str]:
        return [record["message"] for record in self.records()]

    def wait_until(self, message: str, seconds: float = _READY_SECONDS) -> float:
        """Wait until it logs this; returns for how long that took."""
        began = time.monotonic()
        wait_for(
            lambda: message in self.messages(),
            seconds=seconds,
            what=f"the log {message!r}",
            explain=lambda: self._log.read_text(encoding="utf-8")[-4000:],
        )
        return time.monotonic() - began

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Tell it to end; returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def running_operator(
    kubeconfig: Path, namespace: str, log: Path, **settings: str
) -> Iterator[OperatorProcess]:
    """Run an operator while a `with` block runs."""
    operator = OperatorProcess(kubeconfig, namespace, log, **settings)
    try:
        operator.wait_until("started")
        yield operator
    finally:
        operator.kill()
