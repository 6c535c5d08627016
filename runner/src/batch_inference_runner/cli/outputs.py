"""`bij verify` and `bij gc`: look at an output location without a manifest of the job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import Location
from batch_inference_runner import logs
from batch_inference_runner.cli.json_document import write_document
from batch_inference_runner.cli.wording import count
from batch_inference_runner.commit.outcome import run_errors
from batch_inference_runner.errors import ExitCode
from batch_inference_runner.redaction import redact
from batch_inference_runner.storage.location import open_store

if TYPE_CHECKING:
    import argparse

    from batch_inference_runner.storage.store import Store

_SHOWN_PROBLEMS = 50


def verify_output(arguments: argparse.Namespace) -> int:
    """Compare an output with its manifest; exit code 70 when they differ."""
    from batch_inference_runner.commit.verify import verify

    logs.configure(json_lines=False, quiet=True)
    store = _open(arguments)
    problems = [redact(problem) for problem in verify(store)]
    if arguments.output_format == "json":
        write_document({"output": redact(store.uri), "valid": not problems, "problems": problems})
    elif problems:
        shown = "".join(f"  {problem}\n" for problem in problems[:_SHOWN_PROBLEMS])
        hidden = len(problems) - _SHOWN_PROBLEMS
        more = f"  ... and {count(hidden)} more\n" if hidden > 0 else ""
        found = count(len(problems), "problem")
        sys.stdout.write(f"not valid: {found} in {redact(store.uri)}\n{shown}{more}")
    else:
        sys.stdout.write(f"valid: {redact(store.uri)} is exactly what its manifest says\n")
    sys.stdout.flush()
    return ExitCode.FAILED if problems else ExitCode.SUCCESS


def collect_garbage(arguments: argparse.Namespace) -> int:
    """Remove what interrupted runs left and say what that was."""
    from batch_inference_runner.commit.garbage import collect

    logs.configure(json_lines=False, quiet=True)
    store = _open(arguments)
    removed = [redact(str(key)) for key in collect(store, release=arguments.release)]
    if arguments.output_format == "json":
        write_document({"output": redact(store.uri), "removed": removed})
    else:
        sys.stdout.write("".join(f"removed {key}\n" for key in removed))
        sys.stdout.write(f"{count(len(removed), 'object')} removed from {redact(store.uri)}\n")
    sys.stdout.flush()
    return ExitCode.SUCCESS


def location_of(text: str, credentials_dir: str | None) -> Location:
    """Make a Location of a URI or of a path, which is relative to the working directory."""
    uri = text if "://" in text else f"file://{Path(text).resolve()}/"
    folder = None if credentials_dir is None else str(Path(credentials_dir).resolve())
    return Location(uri=uri, credentials_dir=folder)


def _open(arguments: argparse.Namespace) -> Store:
    with run_errors(
        "opening the output", credentials_field="--secret-dir", missing=Reason.INVALID_SPEC
    ):
        return open_store(location_of(arguments.output, arguments.secret_dir))
