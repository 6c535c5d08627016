"""`kubectl bij`, called by kubectl, against a real API server.

The tests write the status themselves, as the operator does; `managedBy` keeps a real one away.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from batch_inference_api.v1alpha1.status import Phase
from batch_inference_operator.decide.conditions import State
from batch_inference_operator.names import COMPLETION_INDEX_LABEL, run_labels
from testkit.bij_sessions import HALF_WAY, job_object
from testkit.checkout import ROOT
from testkit.cluster.namespaces import Namespace
from testkit.cluster.pods import busybox_pod
from testkit.cluster.provider import Cluster

CRD = ROOT / "crds" / "batchinference.dev_batchinferencejobs.yaml"
SECONDS = 60
ELSEWHERE = {"managedBy": "tests.example/status-by-hand"}

pytestmark = pytest.mark.usefixtures("crd")


@pytest.fixture(scope="module")
def crd(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD))
    name = "crd/batchinferencejobs.batchinference.dev"
    cluster.kubectl.wait_until_established(name)


class Bij:
    """Runs `kubectl bij` as a user does: kubectl finds it on PATH."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        venv = Path(sys.executable).parent
        self.environment = {
            **namespace.kubectl.environment(),
            "PATH": f"{venv}{os.pathsep}{namespace.cluster.search_path}",
        }
        self.running: list[subprocess.Popen[str]] = []

    def start(self, command: str, *arguments: str, **streams: Any) -> subprocess.Popen[str]:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        process = subprocess.Popen(
            ["kubectl", "bij", command, "-n", self.namespace.name, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            **streams,
        )
        self.running.append(process)
        return process

    def __call__(self, command: str, *arguments: str) -> tuple[int, str, str]:
        """Run a command to its end: exit code, stdout, stderr."""
        process = self.start(command, *arguments)
        out, err = process.communicate(timeout=SECONDS)
        return process.returncode, out, err


@pytest.fixture
def bij(namespace: Namespace) -> Iterator[Bij]:
    caller = Bij(namespace)
    yield caller
    for process in caller.running:
        process.kill()
        process.wait()


def create_job(namespace: Namespace, name: str = "churn", **spec: Any) -> str:
    """Create a job and return its UID."""
    raw = job_object(name, spec={**ELSEWHERE, **spec})
    namespace.kubectl.apply({**raw, "metadata": {"name": name}, "status": {}})
    return namespace.kubectl.get("bij", name)["metadata"]["uid"]


def write_status(
    namespace: Namespace, name: str = "churn", *, phase: Phase, state: State, **parts: Any
) -> None:
    """Write a status through the subresource."""
    status = job_object(phase=phase, state=state, **parts)["status"]
    patch = json.dumps({"status": status})
    namespace.kubectl(
        "patch", "bij", name, "--subresource=status", "--type=merge", f"--patch={patch}"
    )


def run_rows(namespace: Namespace, rows: int) -> None:
    status: Mapping[str, Any] = {
        **HALF_WAY,
        "progress": {"rowsProcessed": rows, "rowsTotal": 100, "percentage": rows},
    }
    write_status(
        namespace,
        phase=Phase.RUNNING,
        state=State.IN_PROGRESS,
        message="rows are scored",
        status=status,
    )


def complete(namespace: Namespace, name: str = "churn") -> None:
    write_status(
        namespace,
        name,
        phase=Phase.SUCCEEDED,
        state=State.COMPLETE,
        reason="Succeeded",
        message="100 rows written",
    )


def fail(namespace: Namespace, name: str = "churn") -> None:
    write_status(
        namespace,
        name,
        phase=Phase.FAILED,
        state=State.FAILED,
        reason="SchemaMismatch",
        message="column 'age' is missing",
    )


def test_status_is_a_page_and_a_document(namespace: Namespace, bij: Bij) -> None:
    create_job(namespace)
    fail(namespace)
    code, page, _ = bij("status", "churn")
    assert code == 0
    assert f"{namespace.name}/churn  Failed" in page
    assert "SchemaMismatch: column 'age' is missing" in page
    assert f"kubectl bij logs churn -n {namespace.name}" in page
    code, document, _ = bij("status", "churn", "-o", "json")
    assert code == 0
    assert json.loads(document)["reason"] == "SchemaMismatch"


def test_a_job_that_nobody_has_seen_is_not_called_ready(namespace: Namespace, bij: Bij) -> None:
    namespace.kubectl.apply({**job_object("idle", spec={"suspend": True}), "status": {},
                             "metadata": {"name": "idle"}})  # fmt: skip
    code, page, _ = bij("status", "idle")
    assert code == 0
    assert "idle  New" in page or "idle  Suspended" in page  # with an operator in the cluster


def test_watch_prints_each_change_and_ends_with_the_job(namespace: Namespace, bij: Bij) -> None:
    create_job(namespace)
    run_rows(namespace, 10)
    process = bij.start("watch", "churn")
    assert process.stdout is not None
    assert "Running  10 %  10/100 rows" in process.stdout.readline()
    run_rows(namespace, 40)
    assert "Running  40 %  40/100 rows" in process.stdout.readline()
    complete(namespace)
    assert "Succeeded  40 %  40/100 rows" in process.stdout.readline()
    assert process.wait(timeout=SECONDS) == 0


def test_watch_ends_with_1_when_the_job_fails(namespace: Namespace, bij: Bij) -> None:
    create_job(namespace)
    process = bij.start("watch", "churn")
    assert process.stdout is not None
    assert "churn  Elsewhere" in process.stdout.readline()
    fail(namespace)
    assert "SchemaMismatch: column 'age' is missing" in process.stdout.readline()
    assert process.wait(timeout=SECONDS) == 1


def test_watch_draws_in_place_on_a_terminal_and_ctrl_c_is_clean(
    namespace: Namespace, bij: Bij
) -> None:
    create_job(namespace)
    run_rows(namespace, 10)
    outer, inner = pty.openpty()
    process = bij.start("watch", stdout=inner)
    shown = b""
    while b"\033[1A" not in shown:  # the second drawing, a second later
        shown += os.read(outer, 4096)
    assert b"10/100 rows" in shown
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=SECONDS)
    os.close(inner)
    os.close(outer)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_wait_ends_at_once_when_one_of_several_has_failed(namespace: Namespace, bij: Bij) -> None:
    create_job(namespace, "a")
    create_job(namespace, "b")
    complete(namespace, "a")
    process = bij.start("wait", "a", "b", "--timeout", "50s")
    assert process.stdout is not None
    assert process.stdout.readline() == "job 'a' is complete: 100 rows written\n"
    fail(namespace, "b")
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert err.splitlines() == [
        "job 'b' waits for the controller that spec.managedBy names; this operator leaves it alone",
        "job 'b' failed: SchemaMismatch: column 'age' is missing",
    ]


def test_wait_knows_complete_timeout_and_missing(namespace: Namespace, bij: Bij) -> None:
    create_job(namespace)
    assert bij("wait", "churn", "--timeout", "1s")[0] == 2
    complete(namespace)
    assert bij("wait", "churn", "--timeout", "1s")[0] == 0
    code, _, err = bij("wait", "chrun")
    assert code == 3
    assert "did you mean 'churn'?" in err


def test_suspend_and_resume_write_the_spec_until_the_job_has_ended(
    namespace: Namespace, bij: Bij
) -> None:
    create_job(namespace)
    run_rows(namespace, 10)
    code, out, _ = bij("suspend", "churn")
    assert code == 0
    assert "12 of 20 shards are committed" in out
    assert namespace.kubectl.get("bij", "churn")["spec"]["suspend"] is True
    assert bij("resume", "churn")[0] == 0
    assert namespace.kubectl.get("bij", "churn")["spec"]["suspend"] is False
    complete(namespace)
    code, _, err = bij("suspend", "churn")
    assert code == 3
    assert "is complete and cannot be suspended" in err
    assert namespace.kubectl.get("bij", "churn")["spec"]["suspend"] is False


def runner_pod(name: str, uid: str, script: str, *, run: int = 1, index: int = 0) -> dict[str, Any]:
    labels = {**run_labels("churn", uid, run), COMPLETION_INDEX_LABEL: str(index)}
    pod = busybox_pod(name, script, labels=labels)
    pod["spec"]["containers"][0]["name"] = "runner"
    return pod


def test_logs_finds_the_pods_of_the_run(namespace: Namespace, bij: Bij) -> None:
    uid = create_job(namespace)
    namespace.kubectl.apply(
        runner_pod("first", uid, "echo of the first run", run=1),
        runner_pod("head", uid, "echo one; echo two; sleep 600", run=2),
        runner_pod("worker", uid, "echo of a worker; sleep 600", run=2, index=1),
    )
    for pod in ("head", "worker"):
        namespace.kubectl.wait("pod", pod, until="condition=Ready", seconds=SECONDS)
    namespace.kubectl.wait(
        "pod", "first", until="jsonpath={.status.phase}=Succeeded", seconds=SECONDS
    )
    assert bij("logs", "churn") == (0, "one\ntwo\n", "")
    assert bij("logs", "churn", "--tail", "1", "--all") == (0, "[0] two\n[1] of a worker\n", "")
    assert bij("logs", "churn", "--previous-run") == (0, "of the first run\n", "")
    code, _, err = bij("logs", "churn", "--index", "5")
    assert code == 3
    assert "run 2 has no pod 5; it has 0, 1" in err


def test_logs_follow_a_pod_and_then_the_one_that_replaces_it(
    namespace: Namespace, bij: Bij
) -> None:
    uid = create_job(namespace)
    run_rows(namespace, 10)
    namespace.kubectl.apply(runner_pod("head", uid, "echo one; sleep 2; echo two; exit 1"))
    process = bij.start("logs", "churn", "-f")
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["one\n", "two\n"]
    namespace.kubectl.apply(runner_pod("head-again", uid, "echo three; sleep 600"))
    assert process.stdout.readline() == "three\n"
    complete(namespace)
    namespace.kubectl("delete", "pod", "head-again", "--now")
    assert process.wait(timeout=SECONDS) == 0


def test_a_server_that_cannot_be_reached_is_one_sentence(bij: Bij, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    document = json.loads(bij.namespace.kubectl.kubeconfig.read_text())
    document["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    kubeconfig.write_text(json.dumps(document))
    code, out, err = bij("status", "churn", "--kubeconfig", str(kubeconfig))
    assert (code, out) == (3, "")
    assert err.startswith("kubectl bij: the API server https://127.0.0.1:9 cannot be reached")
    assert len(err.splitlines()) == 1


def test_a_token_that_is_not_taken_asks_to_log_in_again(bij: Bij, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    document = json.loads(bij.namespace.kubectl.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": "stale"}
    kubeconfig.write_text(json.dumps(document))
    code, _, err = bij("wait", "churn", "--kubeconfig", str(kubeconfig))
    assert code == 3
    assert "does not take your credentials: log in again" in err
