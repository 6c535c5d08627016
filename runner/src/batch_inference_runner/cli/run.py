"""`bij run`: score what a manifest describes, on this machine.

Modules that say how the run ended are imported only then: the first row waits for all that is
imported earlier.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_inference_runner import lean_imports, logs
from batch_inference_runner.cli import manifest as manifests
from batch_inference_runner.cli.display import choose_renderer
from batch_inference_runner.cli.execution import execute
from batch_inference_runner.errors import ExitCode
from batch_inference_runner.quota import cpu_quota, memory_limit_bytes
from batch_inference_runner.redaction import redact

if TYPE_CHECKING:
    import argparse
    from contextlib import ExitStack

    from batch_inference_api.runner_contract import RunnerConfig
    from batch_inference_runner.cli.execution import Result, StartServices
    from batch_inference_runner.cli.manifest import LoadedManifest
    from batch_inference_runner.progress.counters import Progress
    from batch_inference_runner.schedule.ray_nodes import RayNodes
    from batch_inference_runner.schedule.scorer_process import ScorerProcess

_logger = logging.getLogger(__name__)


def run(arguments: argparse.Namespace, scorer: ScorerProcess) -> int:
    """Run the job and return the exit code; results go to stdout, all else to stderr."""
    as_json = arguments.output_format == "json"
    logs.configure(json_lines=as_json, verbose=arguments.verbose, quiet=not arguments.verbose)
    with lean_imports.uncollected():  # building validators makes as many objects as imports do
        loaded = load_manifest(arguments)
    if loaded.without_effect and not as_json:
        _note(f"note: without effect locally: {', '.join(loaded.without_effect)}")
    config = _with_workers(loaded.config, arguments.workers)
    try:
        result = execute(
            config,
            scorer,
            renderer=choose_renderer(arguments.output_format),
            start_services=_services(arguments, config),
        )
    except OSError as error:
        return _refuse_port(arguments.progress_port, error)
    _tell(result, loaded, arguments)
    return result.exit_code


def load_manifest(arguments: argparse.Namespace) -> LoadedManifest:
    """Load the manifest with what the command line overrides."""
    return manifests.load(
        Path(arguments.job),
        overrides=arguments.set,
        volumes={claim: Path(folder) for claim, folder in arguments.volume.items()},
        secrets={name: Path(folder) for name, folder in arguments.secret.items()},
        output=arguments.output,
    )


def _with_workers(config: RunnerConfig, replicas: int) -> RunnerConfig:
    """Let only `--workers` decide: here replicas are processes that share one machine."""
    asked = config.workers
    share_millis = max(1000, cpu_quota() * 1000 // replicas)
    share_bytes = memory_limit_bytes() // replicas
    workers = asked.model_copy(
        update={
            "replicas": replicas,
            "cpu_millis": min(asked.cpu_millis or share_millis, share_millis),
            "memory_bytes": min(asked.memory_bytes or share_bytes, share_bytes),
        }
    )
    return config.model_copy(update={"workers": workers})


def _tell(result: Result, loaded: LoadedManifest, arguments: argparse.Namespace) -> None:
    import shlex

    from batch_inference_runner.cli.failures import write_error
    from batch_inference_runner.cli.json_document import write_document
    from batch_inference_runner.cli.summary import interruption, summary

    if result.defect is not None:
        _logger.error("unexpected failure", exc_info=result.defect)
    if arguments.output_format == "json":
        write_document(_document(result, loaded))
    elif result.outcome is not None:
        sys.stdout.write(summary(result, loaded.config))
    if result.failure is None:
        return
    if result.exit_code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
        _note(interruption(result.report, loaded.config, shlex.join(["bij", *arguments.words])))
    else:
        write_error(result.failure)


def _document(result: Result, loaded: LoadedManifest) -> dict[str, Any]:
    complete = result.outcome is not None and result.outcome.already_complete
    return {
        "outcome": "AlreadyComplete" if complete else result.report.phase.value,
        "exitCode": int(result.exit_code),
        "report": result.report.model_dump(mode="json", exclude_none=True),
        "withoutEffect": list(loaded.without_effect),
    }


def _services(arguments: argparse.Namespace, config: RunnerConfig) -> StartServices:
    def start(progress: Progress, stack: ExitStack) -> RayNodes | None:
        port = arguments.progress_port
        if arguments.workers > 1:
            from batch_inference_runner.cli.local_workers import start_members

            server, members = start_members(progress, config, port=port or 0, stack=stack)
        elif port is not None:
            from batch_inference_runner.progress.server import ProgressServer

            server, members = ProgressServer(progress, host="127.0.0.1", port=port), None
            stack.callback(server.close)
            server.start()
        else:
            return None
        if port is not None:
            url = f"http://127.0.0.1:{server.port}/progress"
            as_json = arguments.output_format == "json"
            _note(json.dumps({"progressUrl": url}) if as_json else f"progress: {url}")
        return members

    return start


def _refuse_port(port: int | None, error: OSError) -> int:
    if port is None:
        raise error
    _note(f"error: cannot serve progress on port {port}: {error.strerror}; choose another port")
    return ExitCode.USAGE


def _note(line: str) -> None:
    sys.stderr.write(redact(line) + "\n")
    sys.stderr.flush()
