"""The dashboard and the alerts over real metrics, by a real Prometheus."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testkit.cluster.namespaces import Namespace
from testkit.cluster_jobs import make_cluster_job, make_held_job
from testkit.deadlines import wait_for
from testkit.gate import Gate
from testkit.operator_installation import Operator
from testkit.prometheus import alert_queries, dashboard_queries, find_program

SILENT_WITHOUT_ERRORS = {"Reconciles in a second, and those that fail B"}


class Prometheus:
    """A server of this machine that scrapes the operator each second."""

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}/api/v1"

    def query(self, expression: str) -> list[dict]:
        asked = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self._root}/query?{asked}", timeout=10) as answer:
            return json.load(answer)["data"]["result"]

    def is_up(self) -> bool:
        try:
            return bool(self.query("up == 1"))
        except OSError:
            return False


@contextmanager
def prometheus_of(operator: Operator, folder: Path) -> Iterator[Prometheus]:
    (pod,) = operator.pods()
    target = f"{pod['status']['podIP']}:8081"
    scrape = {"job_name": "operator", "static_configs": [{"targets": [target]}]}
    settings = {"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}
    (folder / "prometheus.yaml").write_text(json.dumps(settings))
    port = unused_port()
    process = subprocess.Popen(
        [
            find_program("prometheus"),
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
    )
    try:
        server = Prometheus(port)
        wait_for(server.is_up, seconds=30, what="Prometheus to reach the operator")
        yield server
    finally:
        process.terminate()
        process.wait(20)


def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_panels_show_jobs_and_alerts_name_those_that_failed(
    operator: Operator, namespace: Namespace, gate: Gate, tmp_path: Path
) -> None:
    queries = dashboard_queries()
    with prometheus_of(operator, tmp_path) as prometheus:
        wrong = make_cluster_job(namespace, tmp_path)
        wrong.name = "wrong"
        wrong.spec["input"]["storageUris"] = [wrong.spec["input"]["storageUris"][0] + "nothing/"]
        wrong.apply()
        job = make_held_job(namespace, tmp_path, gate)
        job.apply()
        wrong.wait_for_condition("Failed", reason="InputNotFound")
        job.go_on_to(3)

        def empty() -> set[str]:
            return {panel for panel, query in queries.items() if not prometheus.query(query)}

        wait_for(
            lambda: empty() <= SILENT_WITHOUT_ERRORS,
            seconds=30,
            what="data in each panel",
            explain=lambda: str(empty()),
        )
        alerts = {name: prometheus.query(query) for name, query in alert_queries().items()}
    named = [
        found["metric"]
        for found in alerts.pop("BatchInferenceJobFailed")
        if found["metric"]["job_namespace"] == namespace.name
    ]
    assert named == [
        {"job_namespace": namespace.name, "job_name": "wrong", "reason": "InputNotFound"}
    ]
    assert {name: found for name, found in alerts.items() if found} == {}
