"""The operator's process: settings in, exit code out.

0    told to end, and ended in order
1    a part failed, or the lease was lost: Kubernetes starts a new process
64   a setting is wrong: nothing was started
"""

from __future__ import annotations

import asyncio
import logging
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

from pydantic import ValidationError
from pydantic_settings import CliApp, SettingsError

from batch_inference_operator import logs
from batch_inference_operator.cluster.api import ClusterError
from batch_inference_operator.runtime import PartEnded, serve
from batch_inference_operator.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

_logger = logging.getLogger(__name__)
EXIT_FAILED = 1
EXIT_USAGE = 64
_DISTRIBUTION = "batch-inference-operator"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the operator, and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--version" in words:
        sys.stdout.write(f"{_DISTRIBUTION} {version(_DISTRIBUTION)}\n")
        return 0
    try:
        settings = read_settings(words)
    except ValueError as error:
        sys.stderr.write(f"{_DISTRIBUTION}: {error}\n")
        return EXIT_USAGE
    logs.configure(settings.log_level)
    return _run(settings)


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


def _run(settings: Settings) -> int:
    try:
        asyncio.run(serve(settings))
    except (PartEnded, ClusterError, OSError) as error:
        _logger.error("ending", extra={"error": str(error)}, exc_info=error.__cause__)  # noqa: TRY400 - the cause says where
        return EXIT_FAILED
    except Exception:
        _logger.exception("ending by an error that nobody foresaw")
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
