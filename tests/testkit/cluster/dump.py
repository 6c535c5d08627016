"""What a person looks at when a test has failed: the objects, events and logs of its namespace."""

from __future__ import annotations

from testkit.cluster.kubectl import Kubectl

_LOG_LINES = 100
_KINDS = "batchinferencejobs.batchinference.dev"


def dump_namespace(kubectl: Kubectl) -> str:
    """Return a report of a namespace; what cannot be had is said in its place."""
    sections = [
        _section(kubectl, "get", "pods,jobs,services,pvc,networkpolicies", "-o", "wide"),
        _section(kubectl, "get", _KINDS, "-o", "yaml"),
        _section(kubectl, "get", "jobs,pods", "-o", "yaml"),
        _section(kubectl, "get", "events", "--sort-by=.lastTimestamp"),
        *(_logs(kubectl, pod) for pod in _pods(kubectl)),
    ]
    return "\n".join(sections)


def _logs(kubectl: Kubectl, pod: str) -> str:
    flags = ("--all-containers", "--prefix", "--timestamps", f"--tail={_LOG_LINES}")
    now = _section(kubectl, "logs", pod, *flags)
    before = kubectl.attempt("logs", pod, "--previous", *flags)
    return f"{now}\n# before its restart\n{before.stdout}" if before.stdout else now


def _pods(kubectl: Kubectl) -> list[str]:
    return kubectl.attempt("get", "pods", "-o", "name").stdout.split()


def _section(kubectl: Kubectl, *arguments: str) -> str:
    called = kubectl.attempt(*arguments)
    return f"# kubectl {' '.join(arguments)}\n{called.stdout}{called.stderr}"
