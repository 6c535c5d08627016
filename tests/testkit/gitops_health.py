"""How GitOps tools judge an object: Argo CD's Lua script, and kstatus as in Flux and Helm."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lupa.lua51

from testkit.checkout import ROOT
from testkit.skipping import skip_or_fail

SCRIPT = ROOT / "examples" / "gitops" / "argo-cd" / "health.lua"
_MODULE = ROOT / "tests" / "kstatus"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def argo_health(job: dict[str, Any]) -> tuple[str, str]:
    """Status and message, by the script in a Lua 5.1 like Argo CD's, without its libraries."""
    lua = lupa.lua51.LuaRuntime(unpack_returned_tuples=True)
    lua.execute("io, os, package, require, dofile, loadfile = nil")
    lua.globals().obj = lua.table_from(job, recursive=True)
    health = lua.execute(SCRIPT.read_text())
    return health["status"], health["message"]


def kstatus_of(objects: Sequence[dict[str, Any]]) -> list[str]:
    """What kstatus computes for each object: InProgress, Current, Failed, Terminating."""
    named = [{**found, "apiVersion": _API_VERSION, "kind": _KIND} for found in objects]
    printed = subprocess.run(
        [_built_program()], input=json.dumps(named), capture_output=True, text=True, check=True
    ).stdout
    return json.loads(printed)


def _built_program() -> Path:
    """Build the program once; its name says what it was made of."""
    sources = [(_MODULE / name).read_bytes() for name in ("go.mod", "go.sum", "main.go")]
    digest = hashlib.sha256(b"".join(sources)).hexdigest()[:16]
    program = _CACHE / "batch-inference-operator" / "tools" / f"kstatus-{digest}" / "kstatus"
    if not program.exists():
        _build(program)
    return program


def _build(program: Path) -> None:
    if shutil.which("go") is None:
        skip_or_fail("kstatus is built from its Go module, and Go was not found")
    unfinished = program.with_name(f"kstatus.{os.getpid()}")
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "auto"}
    command = ["nice", "go", "build", "-buildvcs=false", "-ldflags", "-s -w", "-o", unfinished, "."]
    subprocess.run(command, cwd=_MODULE, env=environment, check=True)
    unfinished.rename(program)


_API_VERSION = "batchinference.dev/v1alpha1"
_KIND = "BatchInferenceJob"
