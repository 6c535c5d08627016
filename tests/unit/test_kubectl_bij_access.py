"""Which server, user and namespace a kubeconfig means, and the credentials that follow."""

from __future__ import annotations

import base64
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from batch_inference_operator.cluster import user_connection
from batch_inference_operator.cluster.api import Unreachable
from batch_inference_operator.cluster.kubeconfig import (
    Access,
    ExecPlugin,
    NoAccess,
    Server,
    User,
    read_access,
)
from batch_inference_operator.cluster.login import Proof, log_in, read_credential
from batch_inference_operator.cluster.user_calls import UserCluster
from batch_inference_operator.cluster.user_connection import Unauthorized, UserConnection
from testkit.bij_sessions import NOW

SERVER = Server(url="https://api.example:6443", authority=b"pem")


def kubeconfig(**changes):
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "prod",
                "cluster": {
                    "server": "https://api.example:6443/",
                    "certificate-authority-data": base64.b64encode(b"pem").decode(),
                },
            }
        ],
        "users": [{"name": "me", "user": {"token": "secret"}}],
        "contexts": [
            {"name": "prod", "context": {"cluster": "prod", "user": "me", "namespace": "scoring"}},
            {"name": "plain", "context": {"cluster": "prod", "user": "me"}},
        ],
        "current-context": "prod",
        **changes,
    }


def written(folder: Path, document, name: str = "config") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def read(path: Path, context: str | None = None) -> Access:
    return read_access(kubeconfig=str(path), context=context, environment={})


def user(**fields):
    return [{"name": "me", "user": fields}]


def test_the_current_context_names_server_user_and_namespace(tmp_path):
    assert read(written(tmp_path, kubeconfig())) == Access(
        server=SERVER, user=User(token="secret"), namespace="scoring"
    )


def test_another_context_may_be_named_and_its_namespace_may_be_the_default(tmp_path):
    assert read(written(tmp_path, kubeconfig()), "plain").namespace == "default"


def test_of_several_files_the_first_to_name_something_wins(tmp_path):
    first = written(tmp_path, {"current-context": "plain", "users": user(token="other")}, "a")
    second = written(tmp_path, kubeconfig(), "b")
    listed = os.pathsep.join([str(first), str(tmp_path / "missing"), str(second)])
    access = read_access(kubeconfig=None, context=None, environment={"KUBECONFIG": listed})
    assert access == Access(server=SERVER, user=User(token="other"), namespace="default")


def test_paths_count_from_the_folder_of_their_file(tmp_path):
    (tmp_path / "ca.crt").write_bytes(b"authority")
    cluster = {"server": "https://api.example", "certificate-authority": "ca.crt"}
    document = kubeconfig(
        clusters=[{"name": "prod", "cluster": cluster}], users=user(tokenFile="token")
    )
    access = read(written(tmp_path, document))
    assert access.server.authority == b"authority"
    assert access.user.token_path == tmp_path / "token"


def test_whom_to_act_as_becomes_headers(tmp_path):
    fields = {"token": "t", "as": "bob", "as-groups": ["a", "b"], "as-user-extra": {"x": ["1"]}}
    access = read(written(tmp_path, kubeconfig(users=user(**fields))))
    assert access.user.impersonation == (
        ("Impersonate-User", "bob"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-x", "1"),
    )


UNUSABLE = {
    "no such context": ({}, "gone", "no context 'gone'; there are: prod, plain"),
    "no current context": ({"current-context": ""}, None, "no current context"),
    "a context without its cluster": ({"clusters": []}, None, "no cluster 'prod'; there are: none"),
    "a user that is not there": ({"users": []}, None, "no user 'me'"),
    "a certificate that is not base64": (
        {"users": user(**{"client-certificate-data": "%"})},
        None,
        "`client-certificate` cannot be read",
    ),
}


@pytest.mark.parametrize(("changes", "context", "said"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_be_used_is_named(tmp_path, changes, context, said):
    with pytest.raises(NoAccess, match=said):
        read(written(tmp_path, kubeconfig(**changes)), context)


def test_an_old_auth_provider_is_refused_with_what_replaces_it(tmp_path):
    document = kubeconfig(users=user(**{"auth-provider": {"name": "oidc"}}))
    with pytest.raises(NoAccess, match="use an `exec` plugin"):
        read(written(tmp_path, document))


def test_without_any_file_it_says_where_it_looked(tmp_path):
    environment = {"KUBECONFIG": str(tmp_path / "none")}
    with pytest.raises(NoAccess, match=r"no kubeconfig at '.*none'; name one with --kubeconfig"):
        read_access(kubeconfig=None, context=None, environment=environment)


@pytest.mark.parametrize("content", ["{", "just text", "- a"])
def test_a_file_that_is_no_kubeconfig_is_named(tmp_path, content):
    path = tmp_path / "config"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(NoAccess, match="config"):
        read(path)


def test_a_pod_without_a_kubeconfig_is_itself(tmp_path, monkeypatch):
    from batch_inference_operator.cluster import kubeconfig as module

    for name, content in (("ca.crt", "pem"), ("token", "t"), ("namespace", "scoring\n")):
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(module, "_SERVICE_ACCOUNT", tmp_path)
    environment = {
        "KUBERNETES_SERVICE_HOST": "fd00::1",
        "KUBERNETES_SERVICE_PORT": "443",
        "KUBECONFIG": str(tmp_path / "none"),
    }
    assert read_access(kubeconfig=None, context=None, environment=environment) == Access(
        server=Server(url="https://[fd00::1]:443", authority=b"pem"),
        user=User(token_path=tmp_path / "token"),
        namespace="scoring",
    )


PROOFS = {
    "a token": (User(token="t"), Proof(authorization="Bearer t")),
    "a password": (User(username="u", password="p"), Proof(authorization="Basic dTpw")),
    "a certificate": (User(certificate=b"c", key=b"k"), Proof(certificate=b"c", key=b"k")),
    "nothing": (User(), Proof()),
}


@pytest.mark.parametrize(("user", "proof"), PROOFS.values(), ids=PROOFS)
def test_a_call_carries_what_the_user_has(user, proof):
    assert log_in(user, SERVER) == proof


def test_a_token_file_is_read_again_after_a_while(tmp_path):
    path = tmp_path / "token"
    path.write_text("first\n")
    proof = log_in(User(token_path=path), SERVER)
    assert proof.authorization == "Bearer first"
    assert proof.is_good_at(datetime.now(UTC))
    assert not proof.is_good_at(datetime.now(UTC) + timedelta(minutes=1))


def test_a_plugin_that_is_not_there_comes_with_its_hint():
    missing = ExecPlugin(command="no-such-login", api_version="v1", install_hint="brew install it")
    with pytest.raises(NoAccess, match="'no-such-login' is not there; brew install it"):
        log_in(User(plugin=missing), SERVER)


def test_credentials_of_a_plugin_expire():
    status = {"token": "t", "expirationTimestamp": "2026-08-01T12:10:00Z"}
    proof = read_credential(json.dumps({"status": status}).encode())
    assert proof.is_good_at(NOW)
    assert not proof.is_good_at(NOW + timedelta(minutes=9, seconds=45))


class Answer:
    def __init__(self, status: int, body: bytes = b"{}") -> None:
        self.status, self.body = status, body

    def read(self) -> bytes:
        return self.body

    def __iter__(self):
        return iter(self.body.splitlines(keepends=True))

    def getheaders(self):
        return []


class FakeConnection:
    """What is sent, and answers in turn."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.sent: list[tuple[str, str]] = []
        self.body: bytes | None = None

    def putrequest(self, method, target):
        self.sent = [(method, target)]

    def putheader(self, name, value):
        self.sent.append((name, value))

    def endheaders(self, body):
        self.body = body

    def getresponse(self):
        return self.answers.pop(0)

    def close(self):
        pass


@pytest.fixture
def wire(monkeypatch):
    connection = FakeConnection(Answer(200))
    monkeypatch.setattr(user_connection, "_open", lambda *_: connection)
    return connection


def test_a_call_goes_below_the_servers_own_path_with_every_header(wire):
    server = Server(url="http://gateway.example/k8s/c-1")
    identity = User(
        token="t", impersonation=(("Impersonate-Group", "a"), ("Impersonate-Group", "b"))
    )
    calls = UserConnection(Access(server=server, user=identity, namespace="x"))
    with calls.call("GET", "/api/v1/pods", query={"limit": "5", "continue": ""}) as answer:
        assert answer.read() == b"{}"
    assert wire.sent[0] == ("GET", "/k8s/c-1/api/v1/pods?limit=5")
    assert ("Authorization", "Bearer t") in wire.sent
    assert wire.sent[-2:] == [("Impersonate-Group", "a"), ("Impersonate-Group", "b")]


def test_refused_credentials_are_asked_for_anew(wire, monkeypatch):
    wire.answers = [Answer(401), Answer(200)]
    asked = iter(["old", "new"])
    monkeypatch.setattr(
        user_connection, "log_in", lambda *_: Proof(authorization=f"Bearer {next(asked)}")
    )
    server = Server(url="http://api.example")
    calls = UserConnection(Access(server=server, user=User(), namespace="x"))
    with pytest.raises(Unauthorized, match="log in again"), calls.call("GET", "/"):
        pass
    with calls.call("GET", "/"):
        assert ("Authorization", "Bearer new") in wire.sent


FOREIGN = [b"<html>log in</html>", b'{"metadata"', b"[]", b"{}", b'{"items": []}']


@pytest.mark.parametrize("body", FOREIGN)
def test_an_answer_of_somebody_else_is_a_sentence(wire, body):
    """As of a gateway that lets nobody in: scripts must not take it for an answer, nor wait."""
    access = Access(server=Server(url="http://api.example"), user=User(), namespace="x")
    calls = UserCluster(UserConnection(access), "x")
    asked = [
        lambda: calls.get_job("churn"),
        calls.list_jobs,
        lambda: calls.set_suspend("churn", uid="u", suspend=True),
        lambda: list(calls.watch_jobs("1")),
    ]
    for ask in asked:
        wire.answers = [Answer(200, body)]
        with pytest.raises(Unreachable, match="login page"):
            ask()


def test_certificates_that_are_none_are_a_sentence():
    server = Server(url="https://api.example", authority=b"not pem")
    calls = UserConnection(Access(server=server, user=User(), namespace="x"))
    with pytest.raises(NoAccess, match="certificates cannot be used"), calls.call("GET", "/"):
        pass
