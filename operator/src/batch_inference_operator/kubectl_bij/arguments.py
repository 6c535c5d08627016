"""What can be typed after `kubectl bij`, and what is refused before a cluster is asked."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from batch_inference_operator.durations import parse_duration
from batch_inference_operator.kubectl_bij.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "kubectl bij"
_DESCRIPTION = "Follow and steer BatchInferenceJobs: progress in rows, reasons, logs."
_KIND = re.compile(r"^(bij|batchinferencejobs?)(\.batchinference\.dev)?/")

_EXAMPLES = """\
examples:
  kubectl bij status churn                where it stands, why, and what to do next
  kubectl bij watch churn                 live, until it ends
  kubectl bij wait churn --timeout 30m && ./publish.sh
  kubectl bij logs churn -f
  kubectl bij suspend churn               take its pods away; what is committed stays

exit codes: 0 success, 1 a job failed, 2 timeout, 3 no such job or cluster, 64 usage, 130 Ctrl-C
"""
_WATCH_EXAMPLES = """\
On a terminal the lines are redrawn in place; otherwise there is one line for each change.
Ends when the job ends: exit code 0 complete, 1 failed, 3 deleted. Without a name until Ctrl-C.

examples:
  kubectl bij watch churn
  kubectl bij watch -n scoring
"""
_WAIT_EXAMPLES = """\
Exit code 0: all are complete; 1: one has failed, told at once with its reason; 2: timeout; 3: one
is not there, or was deleted. (`kubectl wait --for=condition=Complete` sits out its timeout when a
job fails.) Without --timeout it waits as long as it takes.

examples:
  kubectl bij wait churn
  kubectl bij wait churn-a churn-b --timeout 1h30m
"""
_LOGS_EXAMPLES = """\
Shows pod 0, which leads the run; -f goes on with the pods that replace it, until the job ends.

examples:
  kubectl bij logs churn --tail 100
  kubectl bij logs churn --all -f         every pod, each line with the pod's index
  kubectl bij logs churn --index 2 --previous-run
"""
_SUSPEND_EXAMPLES = """\
Sets spec.suspend. The pods are taken away within seconds, shards in flight are dropped, committed
ones stay and are never scored again. Where Flux or Argo CD manages the job, change its source.

examples:
  kubectl bij suspend churn
  kubectl bij resume churn
"""
_RESUME_EXAMPLES = """\
Clears spec.suspend. A new run scores what is not committed yet.

examples:
  kubectl bij resume churn && kubectl bij watch churn
"""
_STATUS_EXAMPLES = """\
examples:
  kubectl bij status churn
  kubectl bij status churn -o json | jq -r .reason
"""


class _Parser(argparse.ArgumentParser):
    """Ends with exit code 64 and names the help that explains the mistake."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options
        )

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}\nSee `{self.prog} --help`.\n")


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> NoReturn:
        from importlib.metadata import version

        print(f"{PROGRAM} {version('batch-inference-operator')}")  # noqa: T201 - its answer
        parser.exit()


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line.

    `flags` of the result leads further commands to the same namespace and cluster.

    Raises SystemExit: 64 for a usage error, which was explained on stderr; 0 after help or version.
    """
    arguments = _parser().parse_args(argv)
    chosen = (("-n", "namespace"), ("--context", "context"), ("--kubeconfig", "kubeconfig"))
    arguments.flags = "".join(
        f" {flag} {shlex.quote(value)}"
        for flag, field in chosen
        if (value := getattr(arguments, field))
    )
    return arguments


def _parser() -> _Parser:
    parser = _Parser(prog=PROGRAM, description=_DESCRIPTION, epilog=_EXAMPLES)
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True, parser_class=_Parser
    )
    _add_status(commands)
    _add_watch(commands)
    _add_wait(commands)
    _add_logs(commands)
    _add_name(_add(commands, "suspend", "take a job's pods away", _SUSPEND_EXAMPLES))
    _add_name(_add(commands, "resume", "let a suspended job go on", _RESUME_EXAMPLES))
    _add_cluster_flags(parser, default=None)
    return parser


def _add(commands: Any, name: str, text: str, epilog: str) -> argparse.ArgumentParser:
    sentence = f"{text[0].upper()}{text[1:]}."
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=sentence, epilog=epilog
    )
    # What is not there does not undo what was said before the command.
    _add_cluster_flags(command, default=argparse.SUPPRESS)
    return command


def _add_cluster_flags(parser: argparse.ArgumentParser, *, default: str | None) -> None:
    cluster = parser.add_argument_group("cluster")
    cluster.add_argument(
        "-n",
        "--namespace",
        metavar="NAMESPACE",
        default=default,
        help="namespace of the job (default: that of the context)",
    )
    cluster.add_argument(
        "--context",
        metavar="NAME",
        default=default,
        help="context of the kubeconfig (default: the current one)",
    )
    cluster.add_argument(
        "--kubeconfig",
        metavar="FILE",
        default=default,
        help="kubeconfig (default: KUBECONFIG or ~/.kube/config)",
    )


def _add_name(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", type=_job_name, help="name of the job")


def _add_status(commands: Any) -> None:
    status = _add(
        commands, "status", "say where a job stands, why, and what to do", _STATUS_EXAMPLES
    )
    _add_name(status)
    status.add_argument(
        "-o",
        "--output",
        metavar="FORMAT",
        choices=("text", "json"),
        default="text",
        help="json: one document for programs (default: text)",
    )


def _add_watch(commands: Any) -> None:
    watch = _add(commands, "watch", "show progress until a job ends", _WATCH_EXAMPLES)
    watch.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        type=_job_name,
        help="name of the job (default: all of the namespace)",
    )


def _add_wait(commands: Any) -> None:
    wait = _add(commands, "wait", "wait until jobs are complete, or one has failed", _WAIT_EXAMPLES)
    wait.add_argument("names", metavar="NAME", nargs="+", type=_job_name, help="name of a job")
    wait.add_argument(
        "--timeout", metavar="TIME", type=_duration, help="give up after this time, as 90s or 30m"
    )


def _add_logs(commands: Any) -> None:
    logs = _add(commands, "logs", "show what the pods of a job's run print", _LOGS_EXAMPLES)
    _add_name(logs)
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the job ends")
    which = logs.add_mutually_exclusive_group()
    which.add_argument(
        "--index", metavar="N", type=_whole, default=0, help="index of the pod (default: 0)"
    )
    which.add_argument("--all", action="store_true", help="all pods of the run")
    logs.add_argument("--previous-run", action="store_true", help="the run before the current one")
    logs.add_argument("--tail", metavar="N", type=_whole, help="only the last N lines of each pod")


def _job_name(text: str) -> str:
    """The name, also where it was written as kubectl prints it: `bij/churn`."""
    name = _KIND.sub("", text)
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a job")
    return name


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
