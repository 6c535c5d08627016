"""Entry point of `kubectl bij`: wires a command, and says in one sentence why it did not work."""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

from batch_inference_api import standard_streams
from batch_inference_operator.kubectl_bij import streams
from batch_inference_operator.kubectl_bij.arguments import PROGRAM, parse
from batch_inference_operator.kubectl_bij.errors import CommandFailed, ExitCode, ReaderGone

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from batch_inference_operator.kubectl_bij.session import Session


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit with its code."""
    signal.signal(signal.SIGTERM, _end)
    standard_streams.make_safe()
    try:
        arguments = parse(argv)
        if _only_shows(arguments):
            streams.require_stdout()
        code: int = run(arguments)
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        code = ExitCode.INTERRUPTED
    except SystemExit as ended:
        code = int(ended.code or 0)
    standard_streams.end_process(code)


def _end(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(ExitCode.TERMINATED)


def _only_shows(arguments: argparse.Namespace) -> bool:
    """Whether the command is for nothing but its text; others have a job's end to tell by code."""
    if arguments.command == "watch":
        return arguments.name is None
    return arguments.command in ("status", "logs")


def run(arguments: argparse.Namespace) -> ExitCode:
    """Run a command; what goes wrong with cluster or job becomes a sentence and exit code 3."""
    from batch_inference_operator.cluster.api import ClusterError

    try:
        return _carry_out(_open_session(arguments), arguments)
    except ReaderGone:
        return ExitCode.SUCCESS
    except (ClusterError, CommandFailed) as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
    except Exception:  # noqa: BLE001 - the process edge: 1 would say that a job has failed
        import traceback

        traceback.print_exc()
    return ExitCode.ERROR


def _open_session(arguments: argparse.Namespace) -> Session:
    from batch_inference_operator.cluster.kubeconfig import read_access
    from batch_inference_operator.cluster.user_calls import UserCluster
    from batch_inference_operator.cluster.user_connection import UserConnection
    from batch_inference_operator.kubectl_bij.session import Session

    access = read_access(
        kubeconfig=arguments.kubeconfig, context=arguments.context, environment=os.environ
    )
    return Session(
        calls=UserCluster(UserConnection(access), arguments.namespace or access.namespace),
        out=sys.stdout,
        err=sys.stderr,
        environment=os.environ,
        now=lambda: datetime.now(UTC),
        flags=arguments.flags,
    )


def _carry_out(session: Session, arguments: argparse.Namespace) -> ExitCode:
    """Each command with what it alone needs."""
    match arguments.command:
        case "status":
            from batch_inference_operator.kubectl_bij import status

            return status.run(session, arguments.name, output=arguments.output)
        case "watch":
            from batch_inference_operator.kubectl_bij import watch

            return watch.run(session, arguments.name)
        case "wait":
            from batch_inference_operator.kubectl_bij import wait

            return wait.run(session, arguments.names, timeout_seconds=arguments.timeout)
        case "logs":
            from batch_inference_operator.kubectl_bij import logs
            from batch_inference_operator.kubectl_bij.pods import Wanted

            index = None if arguments.all else arguments.index
            wanted = Wanted(index=index, previous_run=arguments.previous_run)
            return logs.run(
                session, arguments.name, wanted, follow=arguments.follow, tail=arguments.tail
            )
    from batch_inference_operator.kubectl_bij import suspension

    return suspension.run(session, arguments.name, suspend=arguments.command == "suspend")


if __name__ == "__main__":
    main()
