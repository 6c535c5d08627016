"""CRDs of the tools beside which the product is used, as they are released.

A Go module is fetched for the files that it carries; nothing of it is built.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testkit.cluster.api_server import RequestFailed
from testkit.cluster.binaries import BuildFailed, cached
from testkit.cluster.kubectl import Kubectl


@dataclass(frozen=True)
class Source:
    """A module at a version, its hash as go.sum has it, and the files that are wanted of it."""

    module: str
    version: str
    hash: str
    files: tuple[str, ...]


_PROMETHEUS_CRD = "example/prometheus-operator-crd/monitoring.coreos.com_{}.yaml"
SOURCES = (
    Source(
        "github.com/prometheus-operator/prometheus-operator",
        "v0.92.1",
        "h1:rHWuFo6SVya4FBSCNg2DCzyc4xAv54zk3eDTzp5mQZc=",
        tuple(
            _PROMETHEUS_CRD.format(kinds)
            for kinds in ("servicemonitors", "podmonitors", "prometheusrules")
        ),
    ),
    Source(
        "github.com/argoproj/argo-cd/v3",
        "v3.4.13",
        "h1:kmnF4nE5SQ83OhtdX6DMmLSpH0eRIa1gNYdCLNHqB+A=",
        ("manifests/crds/application-crd.yaml",),
    ),
    Source(
        "github.com/fluxcd/source-controller",
        "v1.7.0",
        "h1:/fBgS4CSmT5Jj/fjQDF92y+pC3gst1GJjgNSzY8Ff9I=",
        (
            "config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml",
            "config/crd/bases/source.toolkit.fluxcd.io_ocirepositories.yaml",
        ),
    ),
    Source(
        "github.com/fluxcd/helm-controller",
        "v1.4.0",
        "h1:rkm8rmB6Na7eNc4pJOnvtXEaJ19iKluRtayHKjBxcUM=",
        ("config/crd/bases/helm.toolkit.fluxcd.io_helmreleases.yaml",),
    ),
    Source(
        "github.com/fluxcd/kustomize-controller",
        "v1.7.3",
        "h1:SzNnGn/4ObAPEHHleM5U7y/AKxKXph3Vj6ZhteeXw8M=",
        ("config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml",),
    ),
)
"""The controllers of Flux are those of Flux 2.7."""


def foreign_crds() -> tuple[Path, ...]:
    """Return a file for each CRD, from the cache if it has them."""
    digest = hashlib.sha256(repr(SOURCES).encode()).hexdigest()[:16]
    return tuple(sorted(cached(f"foreign-crds-{digest}", _fetch).iterdir()))


@contextmanager
def created(kubectl: Kubectl, files: Iterable[Path]) -> Iterator[None]:
    """Have a cluster know what it does not know yet, and forget that again."""
    flags = [f"--filename={file}" for file in files]
    done = kubectl.attempt("create", "--output=name", *flags)
    names = done.stdout.split()
    try:
        errors = [line for line in done.stderr.splitlines() if not line.startswith("Warning: ")]
        refused = [line for line in errors if "already exists" not in line]
        if refused:
            raise RequestFailed("\n".join(refused))
        if names:
            kubectl.wait_until_established(*names)
        yield
    finally:
        if names:
            kubectl("delete", *names)


def _fetch(folder: Path) -> None:
    for source in SOURCES:
        carried = _downloaded(source)
        for file in source.files:
            shutil.copy(carried / file, folder)


def _downloaded(source: Source) -> Path:
    """Return the folder of a module, which Go has compared with its checksum database."""
    if shutil.which("go") is None:
        raise BuildFailed("CRDs of other tools are files of Go modules, and Go was not found")
    done = subprocess.run(
        ["go", "mod", "download", "-json", f"{source.module}@{source.version}"],
        cwd="/",  # outside of any module
        env={**os.environ, "GOTOOLCHAIN": "auto"},
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(done.stdout or "{}")
    if "Dir" not in told:
        raise BuildFailed(f"{source.module} was not fetched: {told.get('Error') or done.stderr}")
    if told["Sum"] != source.hash:
        raise BuildFailed(f"{source.module}: the hash is {told['Sum']}, not {source.hash}")
    return Path(told["Dir"])
