"""What a store's refusal means for the run."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import JobFailed, RunnerError, Unavailable
from batch_inference_runner.storage.store import (
    AccessDenied,
    AlreadyExists,
    NotFound,
    StoreError,
    Unsupported,
    VersionChanged,
    VolumeFull,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

STORE_FAILURES = (AlreadyExists, NotFound, VersionChanged, StoreError)


@contextmanager
def run_errors(doing: str) -> Iterator[None]:
    """Turn what stores raise into what ends a run; `doing` says what was being tried."""
    try:
        yield
    except STORE_FAILURES as error:
        raise as_run_error(error, doing) from error


def as_run_error(error: Exception, doing: str) -> RunnerError:
    """Return the exception that ends the run; committed shards stay committed in any case."""
    match error:
        case AccessDenied():
            return JobFailed(
                Reason.ACCESS_DENIED,
                f"{doing}: access denied: {error}; correct the credentials (spec.output.secretRef, "
                f"or --secret NAME=DIR) or their permissions",
            )
        case VolumeFull():
            return JobFailed(
                Reason.OUTPUT_VOLUME_FULL,
                f"{doing}: no space left: {error}; make room and run again: what is committed is "
                f"not scored again",
            )
        case Unsupported():
            return JobFailed(Reason.OUTPUT_STORE_UNSAFE, f"{doing}: {error}")
        case NotFound():
            return Unavailable(f"{doing}: not found: {error}")
        case _:
            return Unavailable(f"{doing}: {error}; run again to resume")
