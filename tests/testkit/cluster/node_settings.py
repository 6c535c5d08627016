"""The settings of a node's programs, as documents."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from testkit.cluster.certificates import Identity


def kubelet_settings(
    *, folder: Path, socket: Path, cgroup: str, dns: str, authority: Path, identity: Identity
) -> dict[str, Any]:
    """Return a KubeletConfiguration for a machine that is shared with everything else."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{socket}",
        "podLogsDir": str(folder / "pod-logs"),
        "volumePluginDir": str(folder / "volume-plugins"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,  # two kubelets on one machine must not tidy up each other's pods
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,  # less than that needs CAP_SYS_RESOURCE
        "makeIPTablesUtilChains": False,
        "clusterDNS": [dns],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "tlsCertFile": str(identity.certificate),
        "tlsPrivateKeyFile": str(identity.key),
        # Webhook, so that logs, exec and port-forward are asked for as in a real cluster.
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority)},
        },
        "authorization": {"mode": "Webhook"},
        # The machine's disk and memory are not the cluster's to defend.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        # By default, what tests kill for the fifth time stays down for minutes, in any later test.
        "crashLoopBackOff": {"maxContainerRestartPeriod": "2s"},
    }


def kube_proxy_settings(*, node: str, kubeconfig: Path) -> dict[str, Any]:
    """Return a KubeProxyConfiguration that leaves the machine's conntrack limits alone."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": node,
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "conntrack": {"maxPerCore": 0, "min": 0},
        "oomScoreAdj": 0,
        # What does not come from a pod gets the node's address, so that answers find back to it.
        "detectLocalMode": "InterfaceNamePrefix",
        "detectLocal": {"interfaceNamePrefix": "veth"},
    }


def pod_network(pods: IPv4Network, leases: Path) -> dict[str, Any]:
    """Return a CNI configuration that routes to each pod.

    With a bridge, a pod's answer to a neighbour that called it by a Service would take the short
    way past the node's address translation, unless the kernel has br_netfilter.
    """
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(leases),
                    "ranges": [[{"subnet": str(pods)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }
        ],
    }
