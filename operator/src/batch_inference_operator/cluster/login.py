"""The credentials that a call carries: as the kubeconfig has them, or from the program it names."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from batch_inference_operator.cluster.kubeconfig import NoAccess

if TYPE_CHECKING:
    from batch_inference_operator.cluster.kubeconfig import ExecPlugin, Server, User

_PLUGIN_SECONDS = 300.0
"""A plugin may open a browser and wait for a person."""
_EARLY = timedelta(seconds=30)
"""A token that is about to expire is not begun with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What one connection shows: a client certificate, a header, or both."""

    authorization: str | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    expires: datetime | None = None

    def is_good_at(self, moment: datetime) -> bool:
        """Whether the server should still take it."""
        return self.expires is None or moment + _EARLY < self.expires


def log_in(user: User, server: Server) -> Proof:
    """Get credentials.

    Raises:
        NoAccess: a token file or a plugin does not give any.
    """
    if user.plugin is not None:
        return _run(user.plugin, server)
    if user.token is not None:
        authorization = f"Bearer {user.token}"
    elif user.token_path is not None:
        authorization = f"Bearer {_read_token(user)}"
    elif user.username is not None:
        pair = f"{user.username}:{user.password or ''}"
        authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
    else:
        return Proof(certificate=user.certificate, key=user.key)
    # A token file is read again after a minute: the kubelet replaces it while the process runs.
    expires = datetime.now(UTC) + timedelta(minutes=1) if user.token_path else None
    return Proof(
        authorization=authorization,
        certificate=user.certificate,
        key=user.key,
        expires=expires,
    )


def _read_token(user: User) -> str:
    assert user.token_path is not None
    try:
        return user.token_path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise NoAccess(f"the kubeconfig's token file cannot be read: {error}") from error


def _run(plugin: ExecPlugin, server: Server) -> Proof:
    """Run the plugin as client-go does: it may talk to the user over stdin and stderr."""
    try:
        done = subprocess.run(
            [plugin.command, *plugin.arguments],
            env={**os.environ, **dict(plugin.environment), **_request(plugin, server)},
            stdin=None if sys.stdin.isatty() else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=_PLUGIN_SECONDS,
            check=True,
        )
        return read_credential(done.stdout)
    except FileNotFoundError as error:
        hint = plugin.install_hint or "install it, or correct `exec` in the kubeconfig"
        raise NoAccess(f"the login program {plugin.command!r} is not there; {hint}") from error
    except (OSError, subprocess.SubprocessError, KeyError, ValueError) as error:
        raise NoAccess(
            f"the login program {plugin.command!r} gave no credentials ({type(error).__name__}); "
            "log in again"
        ) from error


def _request(plugin: ExecPlugin, server: Server) -> dict[str, str]:
    spec: dict[str, Any] = {"interactive": sys.stdin.isatty()}
    if plugin.wants_server:
        authority = server.authority and base64.b64encode(server.authority).decode()
        cluster = {
            "server": server.url,
            "certificate-authority-data": authority,
            "insecure-skip-tls-verify": server.is_insecure or None,
            "tls-server-name": server.tls_name,
            "proxy-url": server.proxy_url,
        }
        spec["cluster"] = {name: value for name, value in cluster.items() if value}
    request = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
    return {"KUBERNETES_EXEC_INFO": json.dumps(request)}


def read_credential(answer: bytes) -> Proof:
    """Read an ExecCredential.

    Raises KeyError or ValueError: it is none.
    """
    status = json.loads(answer)["status"]
    token, expires = status.get("token"), status.get("expirationTimestamp")
    certificate, key = status.get("clientCertificateData"), status.get("clientKeyData")
    if not token and not certificate:
        raise ValueError("neither a token nor a certificate")
    return Proof(
        authorization=f"Bearer {token}" if token else None,
        certificate=certificate.encode() if certificate else None,
        key=key.encode() if key else None,
        expires=datetime.fromisoformat(expires) if expires else None,
    )
