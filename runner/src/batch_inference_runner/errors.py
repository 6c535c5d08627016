"""What ends a run, and the exit code that says so.

    RunnerError
    ├── JobFailed            permanent: the same job fails again            exit 70
    │   └── InvalidJob       found before anything was scored               exit 65
    ├── Unavailable          a store or a process was lost; try again       exit 1
    │   └── ProcessBroken    this process cannot go on, but another one can
    └── Interrupted          SIGINT or SIGTERM; the run can be resumed      exit 130 / 143

Usage errors of the command line exit with 64. Permanent codes lie in 64-79, where the Job's pod
failure policy expects them; 1 is retryable.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch_inference_api.reasons import Reason


class ExitCode(IntEnum):
    """Stable exit codes of `bij` and of runner pods."""

    SUCCESS = 0
    RETRYABLE = 1
    USAGE = 64
    INVALID = 65
    FAILED = 70
    INTERRUPTED = 130
    TERMINATED = 143


class RunnerError(Exception):
    """Base of everything that ends a run."""


class JobFailed(RunnerError):
    """The job cannot succeed as it is; `message` says what to change."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class InvalidJob(JobFailed):
    """The job was refused while planning: nothing was scored and nothing was published."""


class Unavailable(RunnerError):
    """A store or a process could not be reached; what is committed stays, and a rerun resumes."""


class ProcessBroken(Unavailable):
    """A library of this process is in no state to go on with; a fresh process may do the same."""


class Interrupted(RunnerError):
    """The run was asked to stop."""
