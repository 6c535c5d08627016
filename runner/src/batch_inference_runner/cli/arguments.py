"""What can be typed after `bij`, and what is refused before anything starts."""

# ruff: noqa: PTH110, PTH112 - importing pathlib would delay the driver by 5 ms

from __future__ import annotations

import argparse
import os
import re
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from batch_inference_runner.errors import ExitCode
from batch_inference_runner.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DESCRIPTION = (
    "Score a dataset with an ONNX model: every row once, in the output or in the rejects."
)

_EXAMPLES = """\
examples:
  bij validate job.yaml               what would be read, scored and written
  bij run job.yaml                    score; the same command again resumes
  bij verify out/                     compare a finished output with its manifest
  bij schema spec.model               what a field of the manifest means

exit codes: 0 success, 1 try again, 64 usage, 65 invalid job, 70 failed for good,
130 Ctrl-C, 143 SIGTERM
"""

_RUN_EXAMPLES = """\
examples:
  bij run job.yaml
  bij run job.yaml --workers 4 --output s3://bucket/scores/
  bij run job.yaml --set spec.output.mode=Overwrite --set spec.batching.batchSize=1024
  bij run job.yaml --set 'spec.errorPolicy.maxErrorRate="0.01"'
  bij run job.yaml --volume datasets=/mnt/data --secret s3-credentials=./secrets/s3
  bij run job.yaml --output-format json > result.json

Paths in the manifest count from its folder, paths on the command line from the current one.
Ctrl-C stops at once. What is committed stays, and the same command resumes.
"""

_VALIDATE_EXAMPLES = """\
Plans the job and writes nothing: lists and inspects the input, loads the model, binds its inputs to
columns, compiles SQL expressions. It does not look at the output location: only `bij run` says
whether another result is there.

Exit code 0: the job is valid; 65: it is not, and the message says what to change.

examples:
  bij validate job.yaml
  bij validate job.yaml --output-format json | jq .rows
"""

_VERIFY_EXAMPLES = """\
Reads every file that the manifest lists and compares size, hash and row count; reports stray files.
Exit code 0: the output is exactly what the manifest says; 70: it is not.

examples:
  bij verify out/
  bij verify s3://bucket/scores/ --secret-dir ./secrets/s3
"""

_GC_EXAMPLES = """\
Removes staging files and orphans of interrupted runs, never anything that the manifest lists. What
an unfinished job needs to resume stays, unless --release gives it up. Do not run it while the job
is running.

examples:
  bij gc out/
  bij gc out/ --release               also give up a job that never finished: deletes what it has
                                      committed
"""

_SCHEMA_EXAMPLES = """\
examples:
  bij schema                          the top of a manifest
  bij schema spec.model               one field and what is below it
  bij schema spec.output.mode
"""


_USUAL_COLUMNS = 80


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Finds out how wide the terminal is without shutil, which takes 3 ms to import."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_terminal_columns() - 2)


def _terminal_columns() -> int:
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(1).columns or _USUAL_COLUMNS
    except OSError:
        return _USUAL_COLUMNS


class _Parser(argparse.ArgumentParser):
    """Ends with exit code 64 and names the help that explains the mistake."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_Formatter, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}\nSee `{self.prog} --help`.\n")


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Parse the command line.

    `command` of the result names the command, `words` are all that was typed; `volume` and `secret`
    are dicts of name to folder. Paths are plain text: importing pathlib takes 5 ms.

    Raises SystemExit: 64 for a usage error, which was explained on stderr; 0 after help or version.
    """
    arguments = _parser(words).parse_args(words)
    arguments.words = tuple(words)
    for option in ("volume", "secret"):
        if hasattr(arguments, option):
            setattr(arguments, option, dict(getattr(arguments, option)))
    return arguments


def _parser(words: Sequence[str] = ()) -> _Parser:
    """Make what parses these words: of the commands only theirs, if they begin with one."""
    parser = _Parser(prog="bij", description=_DESCRIPTION, epilog=_EXAMPLES)
    parser.add_argument("--version", action="version", version=f"bij {VERSION}")
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True, parser_class=_Parser
    )
    name = words[0] if words else ""
    chosen = [_COMMANDS[name]] if name in _COMMANDS else _COMMANDS.values()
    for add in chosen:
        add(commands)
    return parser


def _add_run(commands: Any) -> None:
    run = commands.add_parser(
        "run",
        help="score the dataset that a manifest describes",
        description="Score the dataset that a manifest describes, on this machine.",
        epilog=_RUN_EXAMPLES,
    )
    _add_manifest_options(run)
    run.add_argument(
        "--workers",
        metavar="N",
        type=_positive,
        default=1,
        help="local worker processes, joined by Ray when there is more than one (default: 1)",
    )
    _add_output_format(run)
    run.add_argument(
        "--progress-port",
        metavar="PORT",
        type=_port,
        help="serve /progress and /metrics on 127.0.0.1; 0 takes a free port",
    )
    run.add_argument("-v", "--verbose", action="store_true", help="log what happens to stderr")


def _add_validate(commands: Any) -> None:
    validate = commands.add_parser(
        "validate",
        help="plan a job without writing anything",
        description="Say what a job would read, score and write.",
        epilog=_VALIDATE_EXAMPLES,
    )
    _add_manifest_options(validate)
    _add_output_format(validate)
    validate.add_argument("-v", "--verbose", action="store_true", help="log to stderr")


def _add_verify(commands: Any) -> None:
    verify = commands.add_parser(
        "verify",
        help="compare a finished output with its manifest",
        description="Compare a finished output with its manifest.",
        epilog=_VERIFY_EXAMPLES,
    )
    _add_output_location(verify)
    _add_output_format(verify)


def _add_gc(commands: Any) -> None:
    gc = commands.add_parser(
        "gc",
        help="remove what interrupted runs left in an output",
        description="Remove what interrupted runs left in an output.",
        epilog=_GC_EXAMPLES,
    )
    _add_output_location(gc)
    gc.add_argument(
        "--release",
        action="store_true",
        help="also give an unfinished job up: deletes its claim and everything it has committed",
    )
    _add_output_format(gc)


def _add_schema(commands: Any) -> None:
    schema = commands.add_parser(
        "schema",
        help="explain the fields of a manifest",
        description="Explain the fields of a manifest.",
        epilog=_SCHEMA_EXAMPLES,
    )
    schema.add_argument(
        "path", metavar="FIELD", nargs="?", default="", help="dotted path, as spec.model.inputs"
    )


def _add_member(name: str, text: str, commands: Any) -> None:
    """Add what runs in pods: `pod` is told what it is by its pod, and tells the others the rest."""
    description = f"{text.capitalize()}. People use `bij run`."
    member = commands.add_parser(name, help=f"(in pods) {text}", description=description)
    member.add_argument(
        "--config", metavar="FILE", required=True, type=_file, help="RunnerConfig as JSON"
    )
    member.add_argument(
        "--ip",
        metavar="ADDRESS",
        help="address under which the other pods reach this one (default: BIJ_POD_IP)",
    )
    if name != "pod":
        _add_supervised(member)


def _add_supervised(member: argparse.ArgumentParser) -> None:
    """Add what only a supervisor, or `bij run`, says to its children."""
    hidden = argparse.SUPPRESS
    member.add_argument("--parent", metavar="PID", type=int, help=hidden)
    member.add_argument("--heartbeat", metavar="DESCRIPTOR", type=int, help=hidden)
    member.add_argument("--attempt", metavar="N", type=_positive, default=1, help=hidden)
    member.add_argument("--processed", metavar="ROWS", type=int, default=0, help=hidden)
    member.add_argument("--began", metavar="SECONDS", type=float, help=hidden)


def _add_manifest_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "job", metavar="job.yaml", type=_file, help="manifest of a BatchInferenceJob"
    )
    parser.add_argument(
        "--output",
        metavar="URI",
        type=_location,
        help="write to this folder or URI instead of spec.output.storageUri",
    )
    parser.add_argument(
        "--set",
        metavar="spec.x=y",
        action="append",
        default=[],
        type=_assignment,
        help="set a field of the manifest, with a value in YAML; may be repeated",
    )
    parser.add_argument(
        "--volume",
        metavar="CLAIM=DIR",
        action="append",
        default=[],
        type=_named_folder,
        help="folder that stands for pvc://CLAIM/; may be repeated",
    )
    parser.add_argument(
        "--secret",
        metavar="NAME=DIR",
        action="append",
        default=[],
        type=_named_folder,
        help="folder that stands for the secret NAME: one file per key, as AWS_ACCESS_KEY_ID "
        "(default: the environment's credentials); may be repeated",
    )


def _add_output_location(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "output", metavar="OUTPUT", type=_location, help="folder or URI that a job wrote to"
    )
    parser.add_argument(
        "--secret-dir",
        metavar="DIR",
        type=_folder,
        help="folder with one file per key, as AWS_ACCESS_KEY_ID (default: the environment's "
        "credentials)",
    )


def _add_output_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output-format",
        choices=("text", "json"),
        default="text",
        help="json: one document on stdout, for programs (default: text)",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give 0 to 65535")
    return int(text)


def _file(text: str) -> str:
    if os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"{text!r} is a folder; name a file in it")
    if not os.path.exists(text):
        raise argparse.ArgumentTypeError(f"there is no file {text!r}")
    return text


def _folder(text: str) -> str:
    if not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"there is no folder {text!r}")
    return text


def _location(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; write . for the current folder")
    return text


def _assignment(text: str) -> str:
    if not re.match(r"[^=\s]+=", text):
        raise argparse.ArgumentTypeError(f"{text!r} does not look like spec.output.mode=Overwrite")
    value = text.partition("=")[2]
    if len(value) != 1 and not value.strip():  # a tab or a space is a delimiter
        raise argparse.ArgumentTypeError(
            f"""{text!r} has no value; null removes the field, '""' is empty text"""
        )
    return text


def _named_folder(text: str) -> tuple[str, str]:
    name, equals, folder = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} does not look like NAME=DIR")
    return name, _folder(folder)


_COMMANDS: dict[str, Callable[[Any], None]] = {
    "run": _add_run,
    "validate": _add_validate,
    "verify": _add_verify,
    "gc": _add_gc,
    "schema": _add_schema,
    **{
        name: partial(_add_member, name, text)
        for name, text in (
            ("pod", "entry point of a run's pods: keeps a driver or a worker running"),
            ("driver", "plan, schedule, score, commit"),
            ("worker", "join the driver and score"),
        )
    },
}
