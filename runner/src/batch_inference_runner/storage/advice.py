"""What a store's error says to whoever runs the job: the reason, and what to do about it."""

from __future__ import annotations

from batch_inference_api.reasons import Reason
from batch_inference_runner.storage.store import (
    AccessDenied,
    FileAccessDenied,
    Misconfigured,
    Unsupported,
    VolumeFull,
)


def reason_of(error: Exception) -> Reason | None:
    """Return the reason if trying again is no help; None: it may be."""
    match error:
        case VolumeFull():
            return Reason.OUTPUT_VOLUME_FULL
        case Misconfigured():
            return Reason.INVALID_SPEC
        case AccessDenied():
            return Reason.ACCESS_DENIED
        case Unsupported():
            return Reason.OUTPUT_STORE_UNSAFE
    return None


def advised(error: Exception, *, credentials_field: str = "secretRef") -> str:
    """Return the error's text with what to do about it.

    `credentials_field` is where the job names the store's credentials.
    """
    match error:
        case VolumeFull():
            return (
                f"no space left: {error}; make room and run the same job again: what is committed "
                f"is not scored again"
            )
        case FileAccessDenied():  # which says all by itself, and no credentials would help
            return f"access denied: {error}"
        case AccessDenied():
            return (
                f"access denied: {error}; correct the credentials ({credentials_field}, or "
                f"--secret NAME=DIR) or their permissions"
            )
    return str(error) or type(error).__name__
