"""What a kubeconfig says: which API server, as whom, in which namespace; as kubectl reads it.

The client library reads one too, but importing it takes a second, and it knows neither `as` nor
`tls-server-name`. The operator, which starts once, uses the library (`connection`); a command that
a person waits for uses this.
"""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from batch_inference_operator.cluster.api import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SECTIONS = {"clusters": "cluster", "users": "user", "contexts": "context"}


class NoAccess(ClusterError):
    """Nothing says how to reach an API server, or what says so cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """An API server, and how it proves to be the right one."""

    url: str
    authority: bytes | None = None
    """Certificates of whom it may be signed by; None: whom this machine trusts."""
    is_insecure: bool = False
    tls_name: str | None = None
    """The name in its certificate, when that is not the one in its address."""
    proxy_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecPlugin:
    """A program that logs in, as the clouds' do."""

    command: str
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    api_version: str
    install_hint: str = ""
    wants_server: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Proof of who is asking; usually one of these."""

    token: str | None = None
    token_path: Path | None = None
    """Read anew for every call: such tokens are rotated."""
    certificate: bytes | None = None
    key: bytes | None = None
    username: str | None = None
    password: str | None = None
    plugin: ExecPlugin | None = None
    impersonation: tuple[tuple[str, str], ...] = ()
    """Headers that ask to be treated as somebody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A context, resolved."""

    server: Server
    user: User
    namespace: str


def read_access(
    *, kubeconfig: str | None, context: str | None, environment: Mapping[str, str]
) -> Access:
    """Read the file that was named, else those of KUBECONFIG, else the user's, else a pod's own.

    Raises:
        NoAccess: there is none, or it cannot be used; the message says what to do.
    """
    paths = _paths(kubeconfig, environment)
    documents = [_read(path) for path in paths if path.is_file()]
    if documents:
        return _resolve(_merge(documents), context)
    if kubeconfig is None and context is None and "KUBERNETES_SERVICE_HOST" in environment:
        return _access_of_pod(environment)
    tried = ", ".join(repr(str(path)) for path in paths)
    raise NoAccess(f"there is no kubeconfig at {tried}; name one with --kubeconfig or KUBECONFIG")


def _paths(named: str | None, environment: Mapping[str, str]) -> tuple[Path, ...]:
    if named is not None:
        return (Path(named).expanduser(),)
    listed = [name for name in environment.get("KUBECONFIG", "").split(os.pathsep) if name]
    return tuple(map(Path, listed)) or (Path("~/.kube/config").expanduser(),)


def _read(path: Path) -> dict[str, Any]:
    """One file, with the paths in it made absolute: they count from its folder."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document = yaml.load(path.read_bytes(), Loader=loader)  # noqa: S506 - both are safe
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise NoAccess(f"the kubeconfig {str(path)!r} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise NoAccess(f"the kubeconfig {str(path)!r} holds no settings; write it anew")
    for entry in _entries(document, "clusters"):
        _make_absolute(entry, path.parent, "certificate-authority")
    for entry in _entries(document, "users"):
        _make_absolute(entry, path.parent, "client-certificate", "client-key", "tokenFile")
        plugin = entry.get("exec") or {}
        if "/" in plugin.get("command", ""):  # a bare name is looked for on PATH
            _make_absolute(plugin, path.parent, "command")
    return document


def _entries(document: Mapping[str, Any], section: str) -> Iterator[dict[str, Any]]:
    for named in document.get(section) or ():
        yield named.get(_SECTIONS[section]) or {}


def _make_absolute(entry: dict[str, Any], folder: Path, *fields: str) -> None:
    for field in fields:
        if entry.get(field):
            entry[field] = str(folder.absolute() / entry[field])


def _merge(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several files as one: the first to name something wins."""
    merged: dict[str, Any] = {
        section: {
            named["name"]: named.get(kind) or {}
            for document in reversed(documents)
            for named in document.get(section) or ()
        }
        for section, kind in _SECTIONS.items()
    }
    current = (document.get("current-context") for document in documents)
    return {**merged, "current-context": next(filter(None, current), None)}


def _resolve(config: Mapping[str, Any], wanted: str | None) -> Access:
    name = wanted or config["current-context"]
    if not name:
        raise NoAccess(
            "the kubeconfig has no current context; name one with --context, or choose one with "
            "`kubectl config use-context`"
        )
    context = _named(config, "contexts", name)
    return Access(
        server=_server(_named(config, "clusters", context.get("cluster"))),
        user=_user(_named(config, "users", context["user"]) if context.get("user") else {}),
        namespace=context.get("namespace") or "default",
    )


def _named(config: Mapping[str, Any], section: str, name: str | None) -> dict[str, Any]:
    try:
        found: dict[str, Any] = config[section][name]
    except KeyError:
        known = ", ".join(map(str, config[section])) or "none"
        raise NoAccess(
            f"the kubeconfig has no {_SECTIONS[section]} {name!r}; there are: {known}"
        ) from None
    return found


def _server(cluster: Mapping[str, Any]) -> Server:
    if not cluster.get("server"):
        raise NoAccess("the kubeconfig's cluster has no `server`: add its address")
    return Server(
        url=cluster["server"].rstrip("/"),
        authority=_content(cluster, "certificate-authority"),
        is_insecure=bool(cluster.get("insecure-skip-tls-verify")),
        tls_name=cluster.get("tls-server-name"),
        proxy_url=cluster.get("proxy-url"),
    )


def _user(user: Mapping[str, Any]) -> User:
    if user.get("auth-provider"):
        raise NoAccess(
            "the kubeconfig logs in by `auth-provider`, which is no longer supported; use an "
            "`exec` plugin, such as kubelogin"
        )
    token_path = user.get("tokenFile")
    return User(
        token=user.get("token"),
        token_path=Path(token_path) if token_path else None,
        certificate=_content(user, "client-certificate"),
        key=_content(user, "client-key"),
        username=user.get("username"),
        password=user.get("password"),
        plugin=_plugin(user["exec"]) if user.get("exec") else None,
        impersonation=tuple(_impersonation(user)),
    )


def _content(entry: Mapping[str, Any], field: str) -> bytes | None:
    """The content of a file, given in the kubeconfig or by path."""
    inline, path = entry.get(f"{field}-data"), entry.get(field)
    try:
        if inline:
            return base64.b64decode(inline, validate=True)
        return Path(path).read_bytes() if path else None
    except (OSError, binascii.Error) as error:
        raise NoAccess(f"the kubeconfig's `{field}` cannot be read: {error}") from error


def _plugin(entry: Mapping[str, Any]) -> ExecPlugin:
    return ExecPlugin(
        command=entry["command"],
        arguments=tuple(entry.get("args") or ()),
        environment=tuple((pair["name"], pair["value"]) for pair in entry.get("env") or ()),
        api_version=entry["apiVersion"],
        install_hint=(entry.get("installHint") or "").strip(),
        wants_server=bool(entry.get("provideClusterInfo")),
    )


def _impersonation(user: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if user.get("as"):
        yield "Impersonate-User", user["as"]
    if user.get("as-uid"):
        yield "Impersonate-Uid", user["as-uid"]
    for group in user.get("as-groups") or ():
        yield "Impersonate-Group", group
    for key, values in (user.get("as-user-extra") or {}).items():
        for value in values:
            yield f"Impersonate-Extra-{key}", value


def _access_of_pod(environment: Mapping[str, str]) -> Access:
    host, port = environment["KUBERNETES_SERVICE_HOST"], environment["KUBERNETES_SERVICE_PORT"]
    try:
        return Access(
            server=Server(
                url=f"https://{f'[{host}]' if ':' in host else host}:{port}",
                authority=(_SERVICE_ACCOUNT / "ca.crt").read_bytes(),
            ),
            user=User(token_path=_SERVICE_ACCOUNT / "token"),
            namespace=(_SERVICE_ACCOUNT / "namespace").read_text().strip(),
        )
    except OSError as error:
        raise NoAccess(f"this pod has no service account token to use: {error}") from error
