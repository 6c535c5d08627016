"""kubectl of the cluster's own version, with the cluster's kubeconfig and no other."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from testkit.deadlines import wait_for

Manifest = dict[str, Any]


class KubectlFailed(Exception):
    """A kubectl command failed; the message is what it printed."""


class Kubectl:
    """Runs kubectl, in one namespace if it is given one."""

    def __init__(self, program: Path, kubeconfig: Path, namespace: str | None = None) -> None:
        self.program = program
        self.kubeconfig = kubeconfig
        self.namespace = namespace

    def within(self, namespace: str) -> Kubectl:
        return Kubectl(self.program, self.kubeconfig, namespace)

    def __call__(self, *arguments: str, stdin: str = "", seconds: float = 60) -> str:
        """Run a command and return what it prints."""
        called = self.attempt(*arguments, stdin=stdin, seconds=seconds)
        if called.returncode != 0:
            raise KubectlFailed(f"kubectl {' '.join(arguments)}: {called.stderr.strip()}")
        return called.stdout

    def attempt(
        self, *arguments: str, stdin: str = "", seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command that may fail."""
        return subprocess.run(
            [str(self.program), *self._connection(), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command that goes on, and whose output is to be read."""
        return subprocess.Popen(
            [str(self.program), *self._connection(), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def apply(self, *manifests: Manifest, dry_run: bool = False) -> str:
        """Apply manifests on the server's side."""
        flags = ["--dry-run=server"] if dry_run else []
        documents = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        return self("apply", "--server-side", *flags, "-f", "-", stdin=documents)

    def get(self, kind: str, name: str) -> Manifest:
        return json.loads(self("get", kind, name, "-o", "json"))

    def find(self, kind: str, name: str) -> Manifest | None:
        """Return an object, or None if there is none."""
        printed = self("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(printed) if printed else None

    def list(self, kind: str, *flags: str) -> list[Manifest]:
        return json.loads(self("get", kind, *flags, "-o", "json"))["items"]

    def wait(self, kind: str, name: str, *, until: str, seconds: float) -> None:
        """Wait as users do, for `condition=Complete` or `jsonpath={.status.phase}=Running`.

        Unlike kubectl's own wait this one knows that the object may not be there yet.
        """
        wait_for(
            lambda: self.find(kind, name), seconds=seconds, what=f"{kind} {name} to be created"
        )
        timeout = f"--timeout={seconds:g}s"
        self("wait", kind, name, f"--for={until}", timeout, seconds=seconds + 10)

    def wait_until_established(self, *crds: str, seconds: float = 60) -> None:
        """Wait until kinds are served, for `crd/NAME`s.

        `kubectl wait` fails at once on one that has no conditions yet.
        """
        for crd in crds:
            wait_for(lambda crd=crd: self._is_established(crd), seconds=seconds, what=crd)

    def _is_established(self, crd: str) -> bool:
        status = json.loads(self("get", crd, "--output=json")).get("status") or {}
        return any(
            found["type"] == "Established" and found["status"] == "True"
            for found in status.get("conditions") or ()
        )

    def wait_for_service_account(self) -> None:
        """Wait until a new namespace accepts pods: they are refused before it has this account."""
        account = ("serviceaccount", "default")
        wait_for(lambda: self.find(*account), seconds=60, what="the default service account")

    def api_server_is_ready(self) -> bool:
        return self.attempt("get", "--raw=/readyz", "--request-timeout=5s").returncode == 0

    def environment(self) -> dict[str, str]:
        """The environment for other programs that are to talk to this cluster."""
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def _connection(self) -> list[str]:
        flags = [f"--kubeconfig={self.kubeconfig}"]
        return flags + ([f"--namespace={self.namespace}"] if self.namespace else [])
