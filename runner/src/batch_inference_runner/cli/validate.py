"""`bij validate`: say what a job would read, score and write."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from batch_inference_runner import logs
from batch_inference_runner.cli.interrupts import Interrupts
from batch_inference_runner.cli.json_document import write_document
from batch_inference_runner.cli.run import load_manifest
from batch_inference_runner.cli.wording import count, size
from batch_inference_runner.errors import ExitCode, Interrupted
from batch_inference_runner.redaction import redact
from batch_inference_runner.schedule import driver
from batch_inference_runner.schedule.deadline import Deadline
from batch_inference_runner.schedule.launch import launch
from batch_inference_runner.schedule.run_thread import RunThread

if TYPE_CHECKING:
    import argparse

    from batch_inference_api.runner_contract import RunnerConfig
    from batch_inference_runner.cli.manifest import LoadedManifest
    from batch_inference_runner.plan.plan import Plan
    from batch_inference_runner.schedule.scorer_process import ScorerProcess

_SHOWN_FILES = 5


def validate(arguments: argparse.Namespace, scorer: ScorerProcess) -> int:
    """Plan the job, print the plan to stdout and return the exit code."""
    as_json = arguments.output_format == "json"
    logs.configure(json_lines=as_json, verbose=arguments.verbose, quiet=not arguments.verbose)
    loaded = load_manifest(arguments)
    stop = threading.Event()
    with Interrupts(stop) as interrupts:
        try:
            plan = _plan(loaded.config, scorer, stop)
        except Interrupted:
            return interrupts.exit_code
    if as_json:
        write_document(_document(plan, loaded))
    else:
        sys.stdout.write(_text(plan, loaded))
        sys.stdout.flush()
    return ExitCode.SUCCESS


def _plan(config: RunnerConfig, scorer: ScorerProcess, stop: threading.Event) -> Plan:
    deadline = Deadline.after(config.budget.active_deadline_seconds, began=time.monotonic())

    def plan() -> Plan:
        return driver.validate(launch(config, stop=stop, scorer=scorer, deadline=deadline))

    thread: RunThread[Plan] = RunThread()
    return thread.finish(plan, stop=stop, deadline=deadline)


def _document(plan: Plan, loaded: LoadedManifest) -> dict[str, Any]:
    details = plan.details
    return {
        "job": loaded.config.job.name,
        "planHash": plan.hash,
        "files": [{"uri": redact(file.uri), "bytes": file.size} for file in plan.files],
        "bytes": sum(file.size for file in plan.files),
        "rows": plan.rows,
        "shards": len(plan.shards),
        "model": {
            "digest": details.get("modelDigest"),
            "inputs": details.get("modelInputs"),
            "batchSize": details.get("batchSize"),
        },
        "columnsRead": details.get("columnsRead"),
        "outputColumns": details.get("outputColumns"),
        "withoutEffect": list(loaded.without_effect),
    }


def _text(plan: Plan, loaded: LoadedManifest) -> str:
    details, config = plan.details, loaded.config
    rows = "unknown before reading" if plan.rows is None else count(plan.rows)
    total_bytes = sum(file.size for file in plan.files)
    blocks = [
        _block("job", [f"{config.job.namespace}/{config.job.name}"]),
        _block("input", [f"{count(len(plan.files), 'file')}, {size(total_bytes)}", *_files(plan)]),
        _block("rows", [rows]),
        _block("shards", [count(len(plan.shards))]),
        _block("model", [str(details.get("modelDigest", "")), *_bindings(details)]),
        _block("columns read", [", ".join(details.get("columnsRead", ()))]),
        _block("output", [redact(config.output.location.uri), *details.get("outputColumns", ())]),
        _block("plan", [plan.hash]),
    ]
    if loaded.without_effect:
        blocks.append(_block("no effect here", [", ".join(loaded.without_effect)]))
    return "\n".join(blocks) + "\nvalid: nothing was written\n"


def _files(plan: Plan) -> list[str]:
    shown = [f"  {redact(file.uri)}  {size(file.size)}" for file in plan.files[:_SHOWN_FILES]]
    hidden = len(plan.files) - len(shown)
    return shown + ([f"  ... and {count(hidden)} more"] if hidden else [])


def _bindings(details: dict[str, Any]) -> list[str]:
    return [f"  {_binding(entry)}" for entry in details.get("modelInputs", ())]


def _binding(entry: Any) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    columns = ", ".join(map(str, entry.get("columns", ())))
    kind = entry.get("type")
    return f"{entry.get('name')}{f' ({kind})' if kind else ''} <- {columns}"


def _block(label: str, lines: list[str]) -> str:
    padded = f"{label:<16}"
    return "\n".join((padded if i == 0 else " " * 16) + line for i, line in enumerate(lines))
