"""What a store's refusal means for the run."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob, JobFailed, Unavailable
from batch_inference_runner.storage.advice import advised, reason_of
from batch_inference_runner.storage.store import (
    AlreadyExists,
    NotFound,
    StoreError,
    VersionChanged,
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
    except STORE_FAILURES as error:
        reason = reason_of(error)
        message = f"{doing}: {advised(error, credentials_field=credentials_field)}"
        if reason is None:
            raise Unavailable(message) from error
        is_invalid = reason is Reason.INVALID_SPEC and missing is not None
        raise (InvalidJob if is_invalid else JobFailed)(reason, message) from error
