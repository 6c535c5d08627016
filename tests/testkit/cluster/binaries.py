"""Where the cluster's programs come from: Go modules, built once into a cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testkit.checkout import ROOT

CACHE = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "batch-inference-operator"
)
KUBERNETES_VERSION = "v1.36.3"
CONTAINERD_VERSION = "v2.4.2"
COREDNS_VERSION = "v1.14.7"
HELM_VERSION = "v4.3.1"

_KUBERNETES_MODULE = ROOT / "tests" / "kubernetes"
_COMPONENTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)
# Without a version, kubectl fails to compare itself with the server, and Helm refuses charts.
_VERSION_FLAGS = " ".join(
    f"-X k8s.io/component-base/version.{name}={value}"
    for name, value in (
        ("gitVersion", KUBERNETES_VERSION),
        ("gitMajor", KUBERNETES_VERSION.removeprefix("v").split(".")[0]),
        ("gitMinor", KUBERNETES_VERSION.split(".")[1]),
    )
)
_BUILD_FLAGS = ("-buildvcs=false", "-ldflags", f"-s -w {_VERSION_FLAGS}")


class BuildFailed(Exception):
    """A program of the cluster could not be built; the message says what to install."""


@dataclass(frozen=True)
class Tools:
    """Folders with the built programs."""

    kubernetes: Path
    containerd: Path
    coredns: Path
    helm: Path
    versitygw: Path

    @property
    def search_path(self) -> str:
        """PATH with these programs before what the machine has."""
        folders = (self.kubernetes, self.containerd, self.helm)
        return os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath)])


def built_tools() -> Tools:
    """Return the cluster's programs, building what the cache does not hold yet."""
    return Tools(
        kubernetes=cached(f"kubernetes-{kubernetes_digest()}", _build_kubernetes),
        containerd=_installed(
            "github.com/containerd/containerd/v2/cmd",
            CONTAINERD_VERSION,
            commands=("containerd", "containerd-shim-runc-v2", "ctr"),
        ),
        coredns=_installed("github.com", COREDNS_VERSION, commands=("coredns/coredns",)),
        helm=built_helm(),
        versitygw=built_versitygw(),
    )


def kubernetes_digest() -> str:
    """Name what the Kubernetes binary is made of, so that a change of it builds another one."""
    digest = hashlib.sha256(" ".join(_BUILD_FLAGS).encode())
    for name in ("go.mod", "go.sum", "main.go"):
        digest.update((_KUBERNETES_MODULE / name).read_bytes())
    return digest.hexdigest()[:16]


def built_helm() -> Path:
    """Return the folder of Helm, for tests of the chart that need no cluster too."""
    return _installed("helm.sh/helm/v4/cmd", HELM_VERSION, commands=("helm",))


def built_versitygw() -> Path:
    """Return the folder of the S3 server, where `make tools` puts it too."""
    return _installed(
        "github.com/versity/versitygw/cmd", _versitygw_version(), commands=("versitygw",)
    )


def _versitygw_version() -> str:
    """Return the version that the Makefile pins, for tests without a cluster too."""
    pinned = re.search(
        r"^VERSITYGW_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert pinned is not None
    return pinned[1]


def _build_kubernetes(folder: Path) -> None:
    _say(f"Building Kubernetes {KUBERNETES_VERSION} from its Go modules (5 minutes on two cores)")
    _go("build", *_BUILD_FLAGS, "-o", str(folder / "kubernetes"), ".", cwd=_KUBERNETES_MODULE)
    for component in _COMPONENTS:
        (folder / component).symlink_to("kubernetes")


def _installed(prefix: str, version: str, *, commands: tuple[str, ...]) -> Path:
    name = commands[0].rpartition("/")[2]

    def build(folder: Path) -> None:
        _say(f"Building {name} {version} from its Go module (1 to 2 minutes)")
        modules = [f"{prefix}/{command}@{version}" for command in commands]
        _go("install", "-ldflags", "-s -w", *modules, destination=folder)

    return cached(f"{name}-{version}", build)


def _go(*arguments: str, cwd: Path = ROOT, destination: Path | None = None) -> None:
    if shutil.which("go") is None:
        raise BuildFailed(_ADVICE.format(problem="Go was not found"))
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "auto"}
    if destination is not None:
        environment["GOBIN"] = str(destination)
    with subprocess.Popen(["nice", "go", *arguments], cwd=cwd, env=environment) as build:
        minutes = 0
        while not _has_ended(build, within_seconds=60):
            minutes += 1
            _say(f"... still building, for {minutes} min")
    if build.returncode != 0:
        raise BuildFailed(_ADVICE.format(problem=f"`go {' '.join(arguments)}` failed"))


def _has_ended(process: subprocess.Popen[bytes], *, within_seconds: float) -> bool:
    try:
        process.wait(within_seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


_ADVICE = (
    "{problem}. The test cluster is built from Go modules: install Go 1.26 or newer (from "
    "https://go.dev/dl or Debian backports; an older Go from 1.21 on fetches a newer one itself)."
)


def cached(name: str, build: Callable[[Path], None]) -> Path:
    """Return a folder of the cache; build it aside first, so that half a build is never used."""
    folder = CACHE / "tools" / name
    if folder.exists():
        return folder
    with one_at_a_time(folder.parent / f".{name}.lock"):
        if not folder.exists():
            unfinished = folder.with_name(f".{name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            build(unfinished)
            unfinished.rename(folder)
    return folder


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Let one process at a time of this machine do what follows."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _say(what: str) -> None:
    print(f"==> {what}", flush=True)
