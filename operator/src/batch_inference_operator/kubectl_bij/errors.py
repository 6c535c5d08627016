"""What ends a command before its time, and the exit codes of all commands."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes; scripts depend on them."""

    SUCCESS = 0
    """Done; for `wait` and `watch`: every job is complete."""
    JOB_FAILED = 1
    """A job failed for good."""
    TIMEOUT = 2
    """`wait --timeout` is over."""
    ERROR = 3
    """No such job, no cluster, no rights, no sense for a job in that state; or a defect."""
    USAGE = 64
    """The command line."""
    INTERRUPTED = 130
    """Ctrl-C."""
    TERMINATED = 143
    """SIGTERM."""


class CommandFailed(Exception):
    """The command cannot do what it was asked; the message is a sentence with advice."""


class ReaderGone(Exception):
    """Whoever read this has seen enough: `kubectl bij logs churn | head`."""
