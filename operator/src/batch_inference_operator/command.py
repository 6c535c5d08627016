"""The command line of the operator: settings in, exit code out.

0    told to end, and ended in order
1    a part failed, or the lease was lost: Kubernetes starts a new process
64   a setting is wrong: nothing was started
143  told to end by SIGTERM before anything was started

`check` as the first word asks only whether an operator with these settings could work, and waits
for a job if one is named: `check team-a/churn`. It ends with 0 if all is well, else with 1.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from importlib.metadata import version
from typing import TYPE_CHECKING

from pydantic import ValidationError
from pydantic_settings import CliApp, SettingsError

from batch_inference_operator import logs
from batch_inference_operator.cluster.api import ClusterError
from batch_inference_operator.cluster.kubernetes_client import connect
from batch_inference_operator.cluster.self_check import find_obstacles, wait_for_job
from batch_inference_operator.runtime import PartEnded, serve
from batch_inference_operator.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

_logger = logging.getLogger(__name__)
EXIT_FAILED = 1
EXIT_USAGE = 64
_DISTRIBUTION = "batch-inference-operator"
_LAST_RESORT_SECONDS = 5.0
_TEST_JOB_SECONDS = 240.0
"""Images are pulled meanwhile; `helm test` waits for 300 s."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the operator, and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--version" in words:
        sys.stdout.write(f"{_DISTRIBUTION} {version(_DISTRIBUTION)}\n")
        return 0
    is_check = words[:1] == ["check"]
    job = words.pop(1) if is_check and len(words) > 1 and "/" in words[1] else ""
    try:
        settings = read_settings(words[1:] if is_check else words)
    except ValueError as error:
        sys.stderr.write(f"{_DISTRIBUTION}: {error}\n")
        return EXIT_USAGE
    logs.configure(settings.log_level)
    return _check(settings, job) if is_check else asyncio.run(_run(settings))


def read_settings(arguments: Sequence[str]) -> Settings:
    """Read the settings from the environment and from flags, which win.

    Raises:
        ValueError: says which settings are wrong, and why.
    """
    try:
        return CliApp.run(Settings, cli_args=list(arguments), cli_exit_on_error=False)
    except ValidationError as error:
        raise ValueError("\n".join(_problems(error))) from error
    except SettingsError as error:
        raise ValueError(str(error)) from error


def _problems(error: ValidationError) -> list[str]:
    lines = ["these settings are wrong:"]
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        name = str(problem["loc"][0]) if problem["loc"] else "?"
        flag = name.replace("_", "-")
        lines.append(f"  BIO_{name.upper()} (--{flag}): {problem['msg']}")
    return lines


def _check(settings: Settings, job: str) -> int:
    try:
        obstacles = asyncio.run(_find_obstacles(settings, job))
    except ClusterError as error:
        obstacles = (str(error),)
    for obstacle in obstacles:
        sys.stdout.write(f"FAILED  {obstacle}\n")
    if not obstacles:
        sys.stdout.write("ok  the API server answers, the CRD is there, and no right is missing\n")
        sys.stdout.write(f"ok  the job {job} has run\n" if job else "")
    return EXIT_FAILED if obstacles else 0


async def _find_obstacles(settings: Settings, job: str) -> tuple[str, ...]:
    async with connect() as cluster:
        obstacles = await find_obstacles(cluster, settings)
        if obstacles or not job:
            return obstacles
        namespace, _, name = job.partition("/")
        problem = await wait_for_job(
            cluster, namespace=namespace, name=name, seconds=_TEST_JOB_SECONDS
        )
        return (problem,) if problem else ()


async def _run(settings: Settings) -> int:
    code = EXIT_FAILED
    try:
        await serve(settings)
        code = 0
    except (PartEnded, ClusterError, OSError) as error:
        cause = error.__cause__
        _logger.error("ending", extra={"error": str(error)}, exc_info=cause)  # noqa: TRY400 - the cause says where
    except Exception:
        _logger.exception("ending by an error that nobody foresaw")
    _end_soon(code)
    return code


def _end_soon(code: int) -> None:
    """End the process even if a task will not.

    asyncio waits for each task that it cancels, and kopf's watches take a cancellation for a pause
    when it comes while they connect.
    """
    timer = threading.Timer(_LAST_RESORT_SECONDS, os._exit, (code,))
    timer.daemon = True
    timer.start()
