"""etcd, the API server, the controllers and DNS, in the cluster's first network namespace."""

from __future__ import annotations

import os
from pathlib import Path

from testkit.cluster.addresses import Addresses
from testkit.cluster.binaries import Tools
from testkit.cluster.certificates import Authority, Identity
from testkit.cluster.component import Command, Component
from testkit.cluster.kubeconfig import write_kubeconfig
from testkit.cluster.kubectl import Kubectl
from testkit.deadlines import wait_for

_API_PORT = 6443
_COREFILE = """\
.:53 {{
    bind {address}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
        ttl 30
    }}
    cache 30 {{
        disable success cluster.local
        disable denial cluster.local
    }}
}}
"""


_AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: None, userGroups: ["system:serviceaccounts:kube-system"]}
  - {level: Metadata, userGroups: ["system:serviceaccounts"]}
  - {level: None}
"""
"""What service accounts ask for, Kubernetes' own left out: tests read which rights are used."""


class ControlPlane:
    """The control plane of one cluster, below a folder."""

    def __init__(self, folder: Path, addresses: Addresses, namespace: str, tools: Tools) -> None:
        self.folder = folder
        self.addresses = addresses
        self.server = f"https://{addresses.control_plane}:{_API_PORT}"
        self.kubeconfig = folder / "admin.kubeconfig"
        self._namespace = namespace
        self._tools = tools
        self._audit_policy = folder / "audit-policy.yaml"

    @property
    def authority(self) -> Authority:
        return Authority(self.folder / "certificates")

    @property
    def audit_log(self) -> Path:
        """What service accounts have asked the API server, one JSON object a line."""
        return self.folder / "audit.log"

    def component(self, name: str) -> Component:
        return Component(name, self.folder)

    def start(self) -> None:
        """Start the API server; the others are started once it answers."""
        self.folder.mkdir()
        self._write_kubeconfigs()
        self._audit_policy.write_text(_AUDIT_POLICY)
        self._start("etcd", *self._etcd_flags())
        self._start("kube-apiserver", *self._api_server_flags())

    def finish(self, kubectl: Kubectl) -> None:
        """Wait for the API server, and start what needs it."""
        api_server = self.component("kube-apiserver")
        wait_for(
            kubectl.api_server_is_ready,
            seconds=60,
            what="the API server",
            explain=api_server.last_words,
        )
        self._start("kube-controller-manager", *self._controller_manager_flags())
        self._start("kube-scheduler", *self._scheduler_flags())
        self._start_dns()

    def kubeconfig_for(self, file_name: str, *, user: str, group: str = "") -> Path:
        """Write a kubeconfig for somebody, whose rights are those of that user and group."""
        identity = self.authority.issue(file_name, user=user, group=group)
        return self.kubeconfig_of(file_name, identity)

    def kubeconfig_of(self, file_name: str, identity: Identity) -> Path:
        """Write a kubeconfig for somebody who has a certificate."""
        return write_kubeconfig(
            self.folder / f"{file_name}.kubeconfig",
            server=self.server,
            authority=self.authority.itself.certificate,
            identity=identity,
        )

    def _write_kubeconfigs(self) -> None:
        self.kubeconfig_for("admin", user="admin", group="system:masters")
        self.kubeconfig_for("dns", user="dns", group="system:masters")
        for component in ("kube-controller-manager", "kube-scheduler", "kube-proxy"):
            self.kubeconfig_for(component, user=f"system:{component}")

    def _start(self, program: str, *flags: str) -> None:
        self._run(program, str(self._tools.kubernetes / program), *flags)

    def _run(self, name: str, *arguments: str) -> None:
        self.component(name).start(Command(arguments, dict(os.environ), self._namespace))

    def _etcd_flags(self) -> tuple[str, ...]:
        return (
            f"--data-dir={self.folder / 'etcd-data'}",
            "--unsafe-no-fsync",  # its data need not outlive this machine's power supply
            "--log-level=warn",
        )

    def _api_server_flags(self) -> tuple[str, ...]:
        own_names = ("kubernetes.default.svc", "kubernetes.default", "kubernetes", "localhost")
        own_addresses = (self.addresses.control_plane, str(self.addresses.services[1]), "127.0.0.1")
        serving = self.authority.issue(
            "kube-apiserver", user="kube-apiserver", names=own_names + own_addresses
        )
        to_kubelets = self.authority.issue(
            "kubelet-client", user="kube-apiserver", group="system:masters"
        )
        tokens = self.authority.write_key_pair("service-accounts")
        return (
            "--etcd-servers=http://127.0.0.1:2379",
            f"--advertise-address={self.addresses.control_plane}",
            f"--secure-port={_API_PORT}",
            f"--service-cluster-ip-range={self.addresses.services}",
            "--allow-privileged=true",
            f"--audit-policy-file={self._audit_policy}",
            f"--audit-log-path={self.audit_log}",
            "--audit-log-maxsize=0",  # one file, so that a test finds all that was ever asked
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--client-ca-file={self.authority.itself.certificate}",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
            f"--kubelet-certificate-authority={self.authority.itself.certificate}",
            f"--kubelet-client-certificate={to_kubelets.certificate}",
            f"--kubelet-client-key={to_kubelets.key}",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={tokens.certificate}",
            f"--service-account-signing-key-file={tokens.key}",
        )

    def _controller_manager_flags(self) -> tuple[str, ...]:
        authority = self.authority.itself
        return (
            f"--kubeconfig={self.folder / 'kube-controller-manager.kubeconfig'}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--use-service-account-credentials",
            f"--root-ca-file={authority.certificate}",
            f"--service-account-private-key-file={self.folder}/certificates/service-accounts.key",
            f"--cluster-signing-cert-file={authority.certificate}",
            f"--cluster-signing-key-file={authority.key}",
        )

    def _scheduler_flags(self) -> tuple[str, ...]:
        return (
            f"--kubeconfig={self.folder / 'kube-scheduler.kubeconfig'}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
        )

    def _start_dns(self) -> None:
        """Start CoreDNS, as kubeadm sets it up, but with nowhere to forward other names to."""
        corefile = self.folder / "Corefile"
        kubeconfig = self.folder / "dns.kubeconfig"
        corefile.write_text(
            _COREFILE.format(address=self.addresses.control_plane, kubeconfig=kubeconfig)
        )
        self._run("coredns", str(self._tools.coredns / "coredns"), "-conf", str(corefile))
