"""What a failure is called, what people read about it, and which exit code it has."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass

from batch_inference_api.reasons import Reason
from batch_inference_runner.cli.json_document import write_document
from batch_inference_runner.errors import (
    ExitCode,
    Interrupted,
    InvalidJob,
    JobFailed,
    Unavailable,
)
from batch_inference_runner.redaction import redact

_RESUME = "what is committed stays; run the same command again to resume"


@dataclass(frozen=True, slots=True)
class Failure:
    """`reason` is one of the resource's reasons, or None where trying again may help."""

    exit_code: ExitCode
    reason: str | None
    message: str


def failure_of(error: BaseException) -> Failure:
    """Classify what ended a run. An exception that is not part of the error tree is a defect."""
    if isinstance(error, JobFailed):
        code = ExitCode.INVALID if isinstance(error, InvalidJob) else ExitCode.FAILED
        return Failure(code, str(error.reason), redact(error.message))
    if isinstance(error, Unavailable):
        return Failure(ExitCode.RETRYABLE, None, redact(f"{error}; {_RESUME}"))
    if isinstance(error, Interrupted):
        return Failure(ExitCode.INTERRUPTED, None, redact(str(error)))
    if _is_manifest_error(error):
        return Failure(ExitCode.INVALID, Reason.INVALID_SPEC, redact(str(error)))
    if _is_contract_error(error):
        return Failure(ExitCode.INVALID, Reason.VERSION_SKEW, redact(str(error)))
    if _is_store_error(error):
        return Failure(ExitCode.RETRYABLE, None, redact(str(error)))
    return Failure(ExitCode.RETRYABLE, None, redact(f"{type(error).__name__}: {error}"))


def is_expected(error: BaseException) -> bool:
    """Whether the message alone says what happened, so that a traceback would only hide it."""
    known = isinstance(error, (JobFailed, Unavailable, Interrupted))
    told = _is_manifest_error(error) or _is_contract_error(error)
    return known or told or _is_store_error(error)


def explain(error: Exception, *, as_json: bool = False) -> int:
    """Write the failure to stderr, with its traceback if it is a defect; return the exit code.

    `as_json`: write it to stdout as well, where a program expects one document in any case.
    """
    failure = failure_of(error)
    if not is_expected(error):
        from batch_inference_runner import logs

        if not logging.getLogger().handlers:
            logs.configure(json_lines=False)
        logging.getLogger(__name__).error("unexpected failure", exc_info=error)
    if as_json:
        _write_document(failure)
    write_error(failure)
    return failure.exit_code


def write_error(failure: Failure) -> None:
    """Write `error: <Reason>: <message>` to stderr."""
    reason = failure.reason or ("Unavailable" if failure.exit_code is ExitCode.RETRYABLE else None)
    sys.stderr.write(": ".join(part for part in ("error", reason, failure.message) if part) + "\n")
    sys.stderr.flush()


def _write_document(failure: Failure) -> None:
    write_document(
        {
            "outcome": "Failed",
            "exitCode": int(failure.exit_code),
            "reason": failure.reason,
            "message": failure.message,
        }
    )


def _is_manifest_error(error: BaseException) -> bool:
    from batch_inference_api.problems import InvalidManifest

    return isinstance(error, InvalidManifest)


def _is_contract_error(error: BaseException) -> bool:
    from batch_inference_api.runner_contract import ContractVersionError

    return isinstance(error, ContractVersionError)


def _is_store_error(error: BaseException) -> bool:
    from batch_inference_runner.storage.store import NotFound, StoreError

    return isinstance(error, (NotFound, StoreError))
