"""kubectl of the cluster's own version, with the cluster's kubeconfig and no other."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from testkit.cluster.api_server import ApiServer, Manifest, RequestFailed, items_of
from testkit.deadlines import wait_for

_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"


class Kubectl:
    """Runs kubectl, in one namespace if it is given one.

    What tests do again and again, and no user would type (`get`, `find`, `list`, `apply`,
    `patch`, `delete`), is asked of the server without kubectl, which takes a quarter of a second
    of CPU.
    """

    def __init__(
        self,
        program: Path,
        kubeconfig: Path,
        namespace: str | None = None,
        *,
        server: ApiServer | None = None,
    ) -> None:
        self.program = program
        self.kubeconfig = kubeconfig
        self.namespace = namespace
        self._within = namespace or "default"
        self.server = server or ApiServer(kubeconfig)

    def within(self, namespace: str) -> Kubectl:
        return Kubectl(self.program, self.kubeconfig, namespace, server=self.server)

    def __call__(self, *arguments: str, stdin: str = "", seconds: float = 60) -> str:
        """Run a command and return what it prints; raises RequestFailed."""
        called = self.attempt(*arguments, stdin=stdin, seconds=seconds)
        if called.returncode != 0:
            raise RequestFailed(f"kubectl {' '.join(arguments)}: {called.stderr.strip()}")
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

    def path(self, kind: str, name: str = "") -> str:
        """Return where `server` has an object, or all objects of a kind, in this namespace."""
        return self.server.resource(kind).path(self._within, name)

    def apply(self, *manifests: Manifest, dry_run: bool = False) -> None:
        """Apply manifests on the server's side, as `kubectl apply --server-side` does."""
        query = {"fieldManager": "kubectl", "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        for manifest in manifests:
            path = self.server.path_of(manifest, namespace=self._within)
            self.server.request("PATCH", path, body=manifest, media=_APPLY, **query)

    def patch(self, kind: str, name: str, changes: Manifest) -> None:
        """Merge changes into an object, as `kubectl patch --type=merge` does."""
        self.server.request("PATCH", self.path(kind, name), body=changes, media=_MERGE)

    def get(self, kind: str, name: str) -> Manifest:
        found = self.find(kind, name)
        if found is None:
            raise RequestFailed(f"there is no {kind} {name!r} in {self._within}")
        return found

    def find(self, kind: str, name: str) -> Manifest | None:
        """Return an object, or None if there is none."""
        return self.server.request("GET", self.path(kind, name))

    def list(self, kind: str, *, labels: str = "", everywhere: bool = False) -> list[Manifest]:
        """Return the objects that a selector of labels selects, of all namespaces or of this."""
        path = self.server.resource(kind).path(None if everywhere else self._within)
        found = self.server.request("GET", path, labelSelector=labels)
        return items_of(found) if found else []

    def delete(self, kind: str, name: str) -> None:
        """Have an object deleted, and do not wait until it is gone."""
        self.server.request("DELETE", self.path(kind, name))

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

        `kubectl wait` fails at once on one that has no conditions yet. Being established is not
        enough: one that is deleted before its objects were ever listed may take a minute to go.
        """
        for crd in crds:
            wait_for(lambda crd=crd: self._is_served(crd), seconds=seconds, what=crd)

    def _is_served(self, crd: str) -> bool:
        found = self.get("crd", crd.rpartition("/")[2])
        conditions = (found.get("status") or {}).get("conditions") or ()
        is_established = any(
            each["type"] == "Established" and each["status"] == "True" for each in conditions
        )
        spec = found["spec"]
        version = next(each["name"] for each in spec["versions"] if each["served"])
        path = f"/apis/{spec['group']}/{version}/{spec['names']['plural']}"
        return is_established and self.server.request("GET", path) is not None

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
