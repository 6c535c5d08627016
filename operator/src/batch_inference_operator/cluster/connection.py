"""Where the API server is, and as whom the operator speaks to it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from batch_inference_operator.cluster.api import ClusterError

_DEFAULT_KUBECONFIG = "~/.kube/config"


class NoCredentials(ClusterError):
    """Neither a pod's service account nor a kubeconfig says how to reach an API server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The same connection for another client library: kopf has one of its own."""

    server: str
    ca_path: str | None
    is_insecure: bool
    token: str | None
    certificate_path: str | None
    private_key_path: str | None
    proxy_url: str | None


async def load_configuration() -> Configuration:
    """Read the kubeconfig that KUBECONFIG names, else the pod's service account, else the default.

    Raises:
        NoCredentials: there is none of the three, or it cannot be read.
    """
    configuration = Configuration()
    in_pod = "KUBERNETES_SERVICE_HOST" in os.environ and not os.environ.get("KUBECONFIG")
    try:
        if in_pod:
            load_incluster_config(configuration)  # type: ignore[no-untyped-call] # not annotated
        else:
            await load_kube_config(  # type: ignore[no-untyped-call] # not annotated
                config_file=os.environ.get("KUBECONFIG"), client_configuration=configuration
            )
    except (ConfigException, OSError) as error:
        raise NoCredentials(
            f"no API server to talk to: {error}; run in a pod with a service account, or set "
            f"KUBECONFIG (default: {_DEFAULT_KUBECONFIG})"
        ) from error
    return configuration


async def read_credentials() -> Credentials:
    """Read the credentials anew: tokens are rotated while the process runs."""
    configuration = await load_configuration()
    token = configuration.api_key.get("BearerToken", "")
    ca_path = configuration.ssl_ca_cert
    return Credentials(
        server=configuration.host,
        ca_path=None if ca_path is None else str(Path(ca_path)),
        is_insecure=not configuration.verify_ssl,
        token=token.strip().partition(" ")[2] or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        proxy_url=configuration.proxy,
    )
