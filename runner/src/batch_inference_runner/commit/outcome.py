"""What a store's refusal means for the run."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob, JobFailed, RunnerError, Unavailable
from batch_inference_runner.storage.store import (
    AccessDenied,
    AlreadyExists,
    FileAccessDenied,
    Misconfigured,
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
def run_errors(
    doing: str,
    *,
    credentials_field: str = "spec.output.secretRef",
    missing: Reason | None = None,
) -> Iterator[None]:
    """Turn what stores raise into what ends a run.

    `doing` says what was being tried, `credentials_field` where the job names the credentials.
    `missing` is the reason if something that must be there from the start is not, a bucket say;
    None: it was there, and may be again, and the job is under way.
    """
    try:
        yield
    except NotFound as error:
        if missing is None:
            raise Unavailable(f"{doing}: not found: {error}") from error
        advice = "create it, or correct the URI in the manifest"
        raise InvalidJob(missing, f"{doing}: {error}; {advice}") from error
    except Misconfigured as error:
        kind = JobFailed if missing is None else InvalidJob
        raise kind(Reason.INVALID_SPEC, f"{doing}: {error}") from error
    except STORE_FAILURES as error:
        raise _run_error(error, doing, credentials_field) from error


def _run_error(error: Exception, doing: str, credentials_field: str) -> RunnerError:
    """Return the exception that ends the run; committed shards stay committed in any case."""
    match error:
        case FileAccessDenied():
            return JobFailed(Reason.ACCESS_DENIED, f"{doing}: access denied: {error}")
        case AccessDenied():
            return JobFailed(
                Reason.ACCESS_DENIED,
                f"{doing}: access denied: {error}; correct the credentials "
                f"({credentials_field}, or --secret NAME=DIR) or their permissions",
            )
        case VolumeFull():
            return JobFailed(
                Reason.OUTPUT_VOLUME_FULL,
                f"{doing}: no space left: {error}; make room and run again: what is committed is "
                f"not scored again",
            )
        case Unsupported():
            return JobFailed(Reason.OUTPUT_STORE_UNSAFE, f"{doing}: {error}")
        case _:
            return Unavailable(f"{doing}: {error}")
