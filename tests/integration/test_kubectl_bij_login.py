"""Logging in by a program that the kubeconfig names."""

from __future__ import annotations

import base64
import json

import pytest

from batch_inference_operator.cluster.kubeconfig import ExecPlugin, NoAccess, Server, User
from batch_inference_operator.cluster.login import log_in

SERVER = Server(url="https://api.example:6443", authority=b"pem")


def plugin(script: str, **fields) -> ExecPlugin:
    api_version = "client.authentication.k8s.io/v1"
    return ExecPlugin(command="sh", arguments=("-c", script), api_version=api_version, **fields)


def test_a_plugin_is_asked_as_client_go_asks():
    echo = """
        said=$(printf %s "$KUBERNETES_EXEC_INFO$X" | base64 -w0)
        printf '{"status": {"token": "%s"}}' "$said"
    """
    asked = plugin(echo, wants_server=True, environment=(("X", "!"),))
    proof = log_in(User(plugin=asked), SERVER)
    assert proof.authorization is not None
    said = base64.b64decode(proof.authorization.removeprefix("Bearer ")).decode()
    assert said.endswith("!")
    assert json.loads(said[:-1]) == {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "spec": {
            "interactive": False,
            "cluster": {
                "server": "https://api.example:6443",
                "certificate-authority-data": base64.b64encode(b"pem").decode(),
            },
        },
    }


@pytest.mark.parametrize(
    "script", ["exit 1", "echo no json", "echo '{}'", """echo '{"status":{}}'"""]
)
def test_a_plugin_that_gives_nothing_asks_to_log_in_again(script):
    with pytest.raises(NoAccess, match=r"'sh' gave no credentials \(\w+\); log in again"):
        log_in(User(plugin=plugin(script)), SERVER)
