"""BatchInferenceJobs on a real cluster; model, input and output lie on its S3 server."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from testkit import onnx_models
from testkit.cluster.kubectl import Kubectl, Manifest
from testkit.cluster.namespaces import Namespace
from testkit.deadlines import wait_for
from testkit.gate import Gate
from testkit.s3 import S3Server, write_credentials
from testkit.s3_jobs import COLUMNS, SECRET, S3Job, assert_exact, parquet_of, upload

KIND = "batchinferencejobs.batchinference.dev"
SMALL_POD = {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "1536Mi"}}
RUN_LABEL = "batchinference.dev/run"
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"


@dataclass
class ClusterJob:
    """A job of some rows in a namespace. `spec` may be changed until `apply`."""

    namespace: Namespace
    on_s3: S3Job
    rows: int
    name: str = "job"
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def kubectl(self) -> Kubectl:
        return self.namespace.kubectl

    @property
    def spec(self) -> dict[str, Any]:
        return self.on_s3.spec

    @property
    def selector(self) -> str:
        """Selects the job's children by their labels."""
        return f"batchinference.dev/job-name={self.name}"

    def manifest(self) -> Manifest:
        return {
            "apiVersion": "batchinference.dev/v1alpha1",
            "kind": "BatchInferenceJob",
            "metadata": {"name": self.name, "labels": self.labels},
            "spec": self.spec,
        }

    def apply(self) -> ClusterJob:
        """Create the job, or change it to what `spec` says."""
        self.kubectl.apply(self.manifest())
        return self

    def change(self, **spec: Any) -> None:
        """Change fields of the spec on the server only."""
        self.kubectl.patch(KIND, self.name, {"spec": spec})

    def get(self) -> Manifest:
        return self.kubectl.get(KIND, self.name)

    def find(self) -> Manifest | None:
        return self.kubectl.find(KIND, self.name)

    def status(self) -> dict[str, Any]:
        return self.get().get("status", {})

    def condition(self, kind: str) -> dict[str, Any]:
        """A condition; an empty one while there is none."""
        conditions = self.status().get("conditions", [])
        return next((found for found in conditions if found["type"] == kind), {})

    def wait_for_condition(self, kind: str, *, seconds: float = 90, reason: str = "") -> dict:
        """Wait until a condition is true, for a reason if one is named."""

        def holds() -> dict[str, Any] | None:
            found = self.condition(kind)
            right = found.get("status") == "True" and reason in ("", found.get("reason"))
            return found if right else None

        what = f"{kind} {reason} of {self.name}"
        return wait_for(holds, seconds=seconds, what=what, explain=self.explain, every_seconds=0.3)

    def wait_for_reason(self, reason: str, *, seconds: float = 60) -> dict[str, Any]:
        """Wait until the job says what it is waiting for."""
        return self.wait_for_condition("Reconciling", reason=reason, seconds=seconds)

    def wait_for_run(self, number: int, *, seconds: float = 90) -> None:
        """Wait until so many runs were begun."""
        wait_for(
            lambda: self.status().get("run", {}).get("number") == number,
            seconds=seconds,
            what=f"run {number} of {self.name}",
            explain=self.explain,
            every_seconds=0.3,
        )

    def wait_for_shards(self, committed: int, *, seconds: float = 90) -> None:
        """Wait until so many shards are committed, as the store shows."""
        wait_for(
            lambda: len(self.on_s3.markers()) >= committed,
            seconds=seconds,
            what=f"{committed} committed shards",
            explain=self.explain,
            every_seconds=0.3,
        )

    def wait_until_complete(self, *, seconds: float = 120) -> dict[str, Any]:
        """Wait for success; a failure ends the wait."""

        def ended() -> dict[str, Any] | None:
            conditions = {c["type"]: c for c in self.status().get("conditions", [])}
            failed = conditions.get("Failed", {})
            assert failed.get("status") != "True", f"the job failed: {failed}\n{self.explain()}"
            found = conditions.get("Complete", {})
            return found if found.get("status") == "True" else None

        what = f"{self.name} to be complete"
        return wait_for(ended, seconds=seconds, what=what, explain=self.explain, every_seconds=0.3)

    def jobs(self) -> list[Manifest]:
        """The batch/v1 Jobs of all of its runs."""
        return self.kubectl.list("jobs.batch", labels=self.selector)

    def pods(self) -> list[Manifest]:
        return self.kubectl.list("pods", labels=self.selector)

    def tokens(self) -> set[str]:
        """The tokens of the runs whose Jobs are there: no one but their pods may see them."""
        found = self.kubectl.list("secrets", labels=self.selector)
        return {base64.b64decode(secret["data"]["token"]).decode() for secret in found}

    def head(self) -> Manifest | None:
        """Index 0 of the youngest run, if it runs."""
        heads = [
            pod
            for pod in self.pods()
            if pod["metadata"]["labels"].get(INDEX_LABEL) == "0"
            and pod["status"].get("phase") == "Running"
            and "deletionTimestamp" not in pod["metadata"]
        ]
        return max(heads, key=lambda pod: int(pod["metadata"]["labels"][RUN_LABEL]), default=None)

    def assert_exact(self) -> None:
        """I1 and I2 for both kinds of reader, the scores, and `bij verify`."""
        assert_exact(self.on_s3, self.rows)

    def explain(self) -> str:
        return json.dumps(self.status(), indent=1)


def make_cluster_job(
    namespace: Namespace, folder: Path, *, rows: int = 4_000, shards: int = 4, slow: bool = False
) -> ClusterJob:
    """A job over one Parquet file whose scores can be told by heart, uploaded and not applied.

    A slow one takes about a third of a millisecond a row.
    """
    storage = namespace.cluster.object_storage
    server = S3Server(storage.endpoint, write_credentials(folder / "s3", storage.endpoint), folder)
    prefix = f"{namespace.name}-{secrets.token_hex(3)}"
    job = S3Job.on(server, folder, prefix, columns=COLUMNS)
    size = max(1, rows // shards)
    job.spec["sharding"] = {"targetRowsPerShard": size}
    job.spec["workers"] = {"replicas": 1, "resources": SMALL_POD}
    model = onnx_models.slow_linear if slow else onnx_models.linear
    upload(job.store, model(folder / "model.onnx"), "model.onnx")
    body = folder / "rows.parquet"
    body.write_bytes(parquet_of(range(rows), row_group_size=size))
    upload(job.store, body, "data/rows.parquet")
    namespace.kubectl.apply(storage.secret(SECRET))
    return ClusterJob(namespace, job, rows)


@dataclass
class HeldJob(ClusterJob):
    """A job whose pods reach the store through a gate only: it goes on as far as a test lets it."""

    gate: Gate = field(kw_only=True)

    def go_on_to(self, committed: int) -> None:
        """Let so many shards be committed, those before included, and wait for them."""
        self.gate.let_pass(committed)
        self.wait_for_shards(committed)

    def finish(self, *, seconds: float = 120) -> None:
        """Let all the rest be committed, and wait for success."""
        self.gate.open()
        self.wait_until_complete(seconds=seconds)


def make_held_job(
    namespace: Namespace, folder: Path, gate: Gate, *, rows: int = 6_000, shards: int = 60
) -> HeldJob:
    """A job as `make_cluster_job` makes it, held at a gate."""
    made = make_cluster_job(namespace, folder, rows=rows, shards=shards)
    storage = replace(namespace.cluster.object_storage, endpoint=gate.endpoint)
    namespace.kubectl.apply(storage.secret(SECRET))
    return HeldJob(namespace, made.on_s3, rows, gate=gate)
