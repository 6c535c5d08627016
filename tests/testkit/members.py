"""The members of a run as their pods start them: `bij pod`, or what that starts, without it.

All of them share this machine's loopback address, in a network namespace of their own.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq

from batch_inference_runner.cli import manifest as manifests
from testkit import onnx_models
from testkit.deadlines import wait_for
from testkit.jobs import BIJ, Job, spec_of
from testkit.processes import children_of, command_of, descendants_of, kill

FEATURES = [f"f{number}" for number in range(32)]
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Workload:
    """Rows that repeat, so that what the scores must be is soon known."""

    model: Path
    data: Path
    scores: np.ndarray

    def job(self, folder: Path, *, shard_rows: int) -> Job:
        spec = spec_of(self.model, self.data, columns=FEATURES, model_input="input")
        spec["sharding"] = {"targetRowsPerShard": shard_rows}
        return Job(folder, spec)


def make_workload(folder: Path, *, rows: int, shard_rows: int, hidden: tuple[int, ...]) -> Workload:
    """`hidden` decides how long a row takes."""
    (folder / "data").mkdir()
    distinct = np.random.default_rng(1).standard_normal((1000, 32), dtype=np.float32)
    features = np.resize(distinct, (rows, 32))
    columns = {name: features[:, i] for i, name in enumerate(FEATURES)}
    table = pa.table({"id": np.arange(rows), **columns})
    pq.write_table(table, folder / "data" / "part.parquet", row_group_size=shard_rows)
    model = onnx_models.mlp(folder / "mlp.onnx", hidden=hidden)
    (scores,) = ort.InferenceSession(str(model)).run(["score"], {"input": distinct})
    return Workload(model, folder / "data", np.resize(scores.ravel(), rows))


@dataclass
class Members:
    """A run's driver and workers, restarted at will, as a kubelet would."""

    job: Job
    port: int = 0
    replicas: int = 3
    supervised: bool = False
    """Whether members are whole pods, with `bij pod` as their first process."""
    variables: dict[str, str] = field(default_factory=dict)
    """Variables of their environment, as a job's `spec.workers.env` sets them."""
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    driver: subprocess.Popen | None = None
    workers: list[subprocess.Popen] = field(default_factory=list)
    temporary: str = field(default_factory=lambda: tempfile.mkdtemp(dir="/tmp", prefix="b"))
    """The containers' file systems; short, because Ray's sockets lie in it."""

    def __post_init__(self) -> None:
        self.log.touch()
        self.port = self.port or free_port()
        self.token_path.touch(mode=0o600)
        self.token_path.write_text(self.token)
        config = manifests.load(self.job.write(), output=str(self.job.output)).config
        run = {"head_address": f"{HOST}:{self.port}", "token_path": str(self.token_path)}
        workers = {"replicas": self.replicas, "cpu_millis": 1000, "memory_bytes": 2 << 30}
        config = config.model_copy(
            update={
                "run": config.run.model_copy(update=run),
                "workers": config.workers.model_copy(update=workers),
            }
        )
        self.config_path.write_text(config.model_dump_json())

    @property
    def token_path(self) -> Path:
        return self.job.folder / "token"

    @property
    def config_path(self) -> Path:
        return self.job.folder / "config.json"

    @property
    def log(self) -> Path:
        return self.job.folder / "members.log"

    @property
    def report_path(self) -> Path:
        return self.job.folder / "report"

    def start_driver(self) -> None:
        self.driver = self._start("driver", index=0)

    def start_worker(self) -> None:
        self.workers.append(self._start("worker", index=1 + len(self.workers)))

    def _start(self, role: str, *, index: int) -> subprocess.Popen:
        command = "pod" if self.supervised else role
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*BIJ, command, "--config", str(self.config_path)],
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment(index)},
                start_new_session=True,
            )

    def _environment(self, index: int) -> dict[str, str]:
        return {
            **self.variables,
            "TMPDIR": self.temporary,
            "BIJ_POD_IP": HOST,
            "BIJ_TERMINATION_LOG": str(self.report_path),
            "BIJ_LIVENESS_PORT": str(self.liveness_ports[index]),
            "JOB_COMPLETION_INDEX": str(index),
        }

    @cached_property
    def liveness_ports(self) -> dict[int, int]:
        """A port for each pod: here all of them have the same address."""
        return {index: free_port() for index in range(10)}

    def child_of(self, pod: subprocess.Popen) -> int | None:
        """What the supervisor of a pod keeps running, while it runs."""
        return next(iter(child for child in children_of(pod.pid) if command_of(child)), None)

    def progress(self) -> dict:
        url = f"http://{HOST}:{self.port}/progress"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            return {}

    @property
    def ready(self) -> int:
        """How many scorers are scoring."""
        return self.progress().get("workers", {}).get("ready", 0)

    def wait_ready_or_ended(self, count: int, *, seconds: float = 120) -> None:
        """Wait for scorers that come back, or for a run that was through before they did."""
        wait_for(
            lambda: self.ready >= count or self.driver.poll() is not None,
            seconds=seconds,
            what=f"{count} scorers being ready, or the end",
        )
        assert self.driver.poll() in (None, 0), self.log.read_text()[-3000:]

    def wait_ready(self, count: int, *, seconds: float = 120) -> None:
        wait_for(
            lambda: self.ready >= count or self.driver.poll() is not None,
            seconds=seconds,
            what=f"{count} scorers being ready",
        )
        assert self.driver.poll() is None, self.log.read_text()[-3000:]

    def join(self, *, token: str | None) -> int:
        """Ask to join; return the HTTP status."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"http://{HOST}:{self.port}/join"
        request = urllib.request.Request(url, method="POST", data=b"", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def find(self, word: str, *, below: subprocess.Popen) -> list[int]:
        """Processes below a member whose command line contains `word`."""
        return [pid for pid in descendants_of(below.pid) if word in command_of(pid)]

    def close(self) -> None:
        """End everything, as the end of its containers would."""
        everyone = [self.driver, *self.workers] if self.driver else self.workers
        for member in everyone:
            kill_member(member)
        shutil.rmtree(self.temporary, ignore_errors=True)


def free_port() -> int:
    """A port of this machine that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def kill_member(member: subprocess.Popen) -> None:
    """SIGKILL a member and all below it, as the end of its container does."""
    below = descendants_of(member.pid)
    for pid in [member.pid, *below]:
        kill(pid)
    member.wait()
    time.sleep(0.05)
    for pid in below:
        kill(pid)


def processes_of_ray() -> dict[int, str]:
    """Ray's processes on this machine that belong to this network namespace."""
    here = Path("/proc/self/ns/net").readlink()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        command = command_of(int(folder.name))
        if not re.search(r"\bray", command) or "pytest" in command:
            continue
        try:
            if (folder / "ns" / "net").readlink() == here:
                found[int(folder.name)] = command
        except OSError:
            continue  # it has ended
    return found
