"""What a store's error says to whoever runs the job: the reason, and what to do about it."""

from __future__ import annotations

from batch_inference_api.reasons import Reason
from batch_inference_runner.storage.store import (
    AccessDenied,
    FileAccessDenied,
    Misconfigured,
    VolumeFull,
)


def reason_of(error: Exception) -> Reason | None:
    """Return the reason if trying again is no help; None: it may be."""
    if isinstance(error, VolumeFull):
        return Reason.OUTPUT_VOLUME_FULL
    if isinstance(error, Misconfigured):
        return Reason.INVALID_SPEC
    return Reason.ACCESS_DENIED if isinstance(error, AccessDenied) else None


def advised(error: Exception) -> str:
    """Return the error's text with what to do about it."""
    if isinstance(error, VolumeFull):
        return f"{error}; make room and run the same job again: it resumes"
    # what a file system denies says so by itself, and no credentials would help
    if isinstance(error, AccessDenied) and not isinstance(error, FileAccessDenied):
        return f"{error}; check the credentials (secretRef, or --secret NAME=DIR) and their rights"
    return str(error) or type(error).__name__
