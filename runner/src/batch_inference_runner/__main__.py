"""The process edge: command line in, exit code out.

Kept thin on purpose. A run's scorer needs a quarter of a second of imports before its first row, so
it is forked here, before the command line is parsed, and imports beside the driver. `bij pod` needs
none: it spawns a driver, which forks its own.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

from batch_inference_api import standard_streams
from batch_inference_runner import lean_imports
from batch_inference_runner.errors import ExitCode

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from batch_inference_runner.schedule.scorer_process import ScorerProcess


def run_process() -> NoReturn:
    """Be the process `bij`. Threads may still wait for a store at its end."""
    _end_at_signals()
    standard_streams.make_safe()
    standard_streams.end_process(main())


def _end_at_signals() -> None:
    """Let Ctrl-C and SIGTERM end the process at once, until `Interrupts` makes more of them."""
    for number, code in (
        (signal.SIGINT, ExitCode.INTERRUPTED),
        (signal.SIGTERM, ExitCode.TERMINATED),
    ):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_, code=code: os._exit(code))


def main(argv: Sequence[str] | None = None) -> int:
    """Run `bij` with `argv` (default: the process's own) and return its exit code."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["pod"] and not {"-h", "--help"}.intersection(words):
        from batch_inference_runner.supervise.start import supervise

        return supervise(words[1:], os.environ)
    scorer = _fork_scorer(words)
    try:
        return _obey(words, scorer)
    finally:
        if scorer is not None:
            scorer.close()


def _fork_scorer(words: Sequence[str]) -> ScorerProcess | None:
    """Fork the scorer that these words seem to need; None if it cannot be, which is told later."""
    if not words or words[0] not in _SCORING_COMMANDS:
        return None
    from batch_inference_runner.schedule.scorer_process import ScorerProcess

    with suppress(OSError):
        return ScorerProcess.fork()
    return None


def _obey(words: Sequence[str], scorer: ScorerProcess | None) -> int:
    # argparse would look for translations of its words, in every folder that might hold some.
    with lean_imports.replaced("gettext", gettext=str, ngettext=_in_english):
        from batch_inference_runner.cli.arguments import parse

    _skip_pydantic_plugins()
    try:
        arguments = parse(words)
    except SystemExit as done:
        return int(done.code or 0)
    try:
        if arguments.command in _SCORING_COMMANDS:
            return _score(arguments, scorer)
        return _COMMANDS[arguments.command](arguments)
    except Exception as error:  # noqa: BLE001 - the process edge: nothing is above it
        from batch_inference_runner.cli.failures import explain

        return explain(error, as_json=getattr(arguments, "output_format", "text") == "json")


def _score(arguments: argparse.Namespace, scorer: ScorerProcess | None) -> int:
    from batch_inference_runner.schedule.scorer_process import ScorerProcess

    with closing(scorer or ScorerProcess.fork()) as its_scorer:
        return _SCORING_COMMANDS[arguments.command](arguments, its_scorer)


def _in_english(one: str, more: str, count: int) -> str:
    return one if count == 1 else more


def _skip_pydantic_plugins() -> None:
    """Let pydantic look for no plugins: it would scan every installed package for them.

    Told so by its variable alone, it would still import 35 ms of what reads packages' metadata.
    """
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    lean_imports.replace("pydantic.plugin._loader", get_plugins=tuple)


@contextmanager
def _lean() -> Iterator[None]:
    """Import without what no command needs: a scorer that was started waits for its driver."""
    with lean_imports.uncollected(), lean_imports.uncompiled():
        from batch_inference_runner import lean_pydantic

        lean_pydantic.load()
        yield


def _run(arguments: argparse.Namespace, scorer: ScorerProcess) -> int:
    with _lean():
        from batch_inference_runner.cli.run import run

    return run(arguments, scorer)


def _validate(arguments: argparse.Namespace, scorer: ScorerProcess) -> int:
    with _lean():
        from batch_inference_runner.cli.validate import validate

    return validate(arguments, scorer)


def _driver(arguments: argparse.Namespace, scorer: ScorerProcess) -> int:
    with _lean():
        from batch_inference_runner.cli.pods import run_driver

    return run_driver(arguments, scorer)


def _worker(arguments: argparse.Namespace) -> int:
    from batch_inference_runner.cli.pods import run_worker

    return run_worker(arguments)


def _verify(arguments: argparse.Namespace) -> int:
    from batch_inference_runner.cli.outputs import verify_output

    return verify_output(arguments)


def _gc(arguments: argparse.Namespace) -> int:
    from batch_inference_runner.cli.outputs import collect_garbage

    return collect_garbage(arguments)


def _schema(arguments: argparse.Namespace) -> int:
    from batch_inference_runner.cli.schema import explain_field

    return explain_field(arguments.path)


_SCORING_COMMANDS: dict[str, Callable[[argparse.Namespace, ScorerProcess], int]] = {
    "run": _run,
    "validate": _validate,
    "driver": _driver,
}
_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "verify": _verify,
    "gc": _gc,
    "schema": _schema,
    "worker": _worker,
}

if __name__ == "__main__":
    run_process()
