"""A long-running program of the cluster, known by its recorded process id.

The record is a file, so that a test can stop and restart what `make cluster` started yesterday. It
holds the process's start time too: an id that the kernel has given to somebody else is not ours.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from testkit.deadlines import wait_for

_STOP_SECONDS = 5


@dataclass(frozen=True)
class Command:
    """How a component is started."""

    arguments: tuple[str, ...]
    environment: dict[str, str]
    network_namespace: str | None = None  # None: the machine's own
    control_groups: tuple[
        str, ...
    ] = ()  # folders that the process is put into, for a node's freeze


class Component:
    """One program of the cluster, by name."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._record = folder / f"{name}.json"

    def start(self, command: Command | None = None) -> None:
        """Start it, with the command of the last start unless another is given."""
        if self.is_running():
            return
        command = command or self._recorded_command()
        namespace = command.network_namespace
        enter = ["nsenter", f"--net=/run/netns/{namespace}"] if namespace else []
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*enter, *command.arguments],
                env=command.environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        for group in command.control_groups:
            (Path(group) / "cgroup.procs").write_text(str(process.pid))
        record = {"pid": process.pid, "started": _start_time(process.pid)}
        self._record.write_text(json.dumps({**record, "command": asdict(command)}))

    def is_running(self) -> bool:
        return self._pid() is not None

    def stop(self) -> None:
        """End it politely, and by force if it does not go."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self._wait_until_gone()
        except AssertionError:
            self.kill()

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._wait_until_gone()

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """Stop it where it stands: its connections stay open and nobody answers."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Have it stopped for a while."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Have it paused for a while."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def signal(self, number: signal.Signals) -> None:
        pid = self._pid()
        if pid is not None:
            os.kill(pid, number)

    def last_words(self, lines: int = 20) -> str:
        """Return the end of its log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "(no log)"

    def _wait_until_gone(self) -> None:
        wait_for(
            lambda: not self.is_running(), seconds=_STOP_SECONDS, what=f"the end of {self.name}"
        )

    def _pid(self) -> int | None:
        try:
            record = json.loads(self._record.read_text())
        except FileNotFoundError:
            return None
        started = _start_time(record["pid"])
        return record["pid"] if started is not None and started == record["started"] else None

    def _recorded_command(self) -> Command:
        recorded = json.loads(self._record.read_text())["command"]
        return Command(**{k: tuple(v) if isinstance(v, list) else v for k, v in recorded.items()})


def recorded_components(folder: Path) -> list[Component]:
    """Return everything that was started from a folder, running or not."""
    return [Component(record.stem, folder) for record in sorted(folder.glob("*.json"))]


def _start_time(pid: int) -> str | None:
    """When a process started, in clock ticks since boot; None if it has ended, reaped or not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, started = fields[0], fields[19]
    return None if state in "ZX" else started
