"""kubectl of the cluster's own version, with the cluster's kubeconfig and no other."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from testkit.cluster.api_server import ApiServer, Manifest, RequestFailed
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
        self._server = server or ApiServer(kubeconfig)

    def within(self, namespace: str) -> Kubectl:
        return Kubectl(self.program, self.kubeconfig, namespace, server=self._server)

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

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command that goes on, and whose output is to be read."""
        return subprocess.Popen(
            [str(self.program), *self._connection(), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def apply(self, *manifests: Manifest, dry_run: bool = False) -> None:
        """Apply manifests on the server's side, as `kubectl apply --server-side` does."""
        query = {"fieldManager": "kubectl", "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        for manifest in manifests:
            path = self._server.path_of(manifest, namespace=self._within)
            self._server.request("PATCH", path, body=manifest, media=_APPLY, **query)

    def patch(self, kind: str, name: str, changes: Manifest) -> None:
        """Merge changes into an object, as `kubectl patch --type=merge` does."""
        path = self._server.resource(kind).path(self._within, name)
        self._server.request("PATCH", path, body=changes, media=_MERGE)

    def get(self, kind: str, name: str) -> Manifest:
        found = self.find(kind, name)
        if found is None:
            raise RequestFailed(f"there is no {kind} {name!r} in {self._within}")
        return found

    def find(self, kind: str, name: str) -> Manifest | None:
        """Return an object, or None if there is none."""
        path = self._server.resource(kind).path(self._within, name)
        return self._server.request("GET", path)

    def list(self, kind: str, *, labels: str = "", everywhere: bool = False) -> list[Manifest]:
        """Return the objects that a selector of labels selects, of all namespaces or of this."""
        resource = self._server.resource(kind)
        path = resource.path(None if everywhere else self._within)
        found = self._server.request("GET", path, labelSelector=labels) or {"items": []}
        # In a list the server leaves these out.
        header = {"apiVersion": resource.api_version, "kind": resource.kind}
        return [header | item for item in found["items"]]

    def delete(self, kind: str, name: str) -> None:
        """Have an object deleted, and do not wait until it is gone."""
        self._server.request("DELETE", self._server.resource(kind).path(self._within, name))

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
        return is_established and self._server.request("GET", path) is not None

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
