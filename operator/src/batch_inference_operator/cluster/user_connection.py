"""HTTP to an API server for a command that a person waits for: blocking, standard library only."""

from __future__ import annotations

import http.client
import ssl
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from batch_inference_operator.cluster.api import ClusterError, Unreachable
from batch_inference_operator.cluster.kubeconfig import NoAccess
from batch_inference_operator.cluster.login import log_in
from batch_inference_operator.cluster.refusals import refusal_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batch_inference_operator.cluster.kubeconfig import Access, Server
    from batch_inference_operator.cluster.login import Proof

CALL_SECONDS = 30.0
_USER_AGENT = "kubectl-bij"


class Unauthorized(ClusterError):
    """The server does not take the credentials (any more)."""


class UserConnection:
    """Makes calls as the user of a kubeconfig. Several threads may share it."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._proof: Proof | None = None

    @contextmanager
    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        seconds: float = CALL_SECONDS,
    ) -> Iterator[http.client.HTTPResponse]:
        """Make a call on a connection of its own, and leave the answer open to be read.

        `seconds` limits every wait for the next bytes, also those of the caller.

        Raises:
            ClusterError: there was no answer, or none with 2xx; also while the caller reads.
        """
        proof = self._log_in()
        connection = _open(self._access.server, _tls(self._access.server, proof), seconds)
        try:
            self._send(connection, method, _target(self._access.server, path, query), proof=proof,
                       body=body, content_type=content_type)  # fmt: skip
            response = connection.getresponse()
            self._check(response)
            yield response
        except TimeoutError as error:
            url = self._access.server.url
            raise Unreachable(f"{url} did not answer within {seconds:g} s") from error
        except ssl.SSLCertVerificationError as error:
            raise NoAccess(
                f"{self._access.server.url} is not the server that the kubeconfig means: "
                f"{error.verify_message}"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            url, cause = self._access.server.url, str(error) or type(error).__name__
            raise Unreachable(f"the API server {url} cannot be reached: {cause}") from error
        finally:
            connection.close()

    def _log_in(self) -> Proof:
        if self._proof is None or not self._proof.is_good_at(datetime.now(UTC)):
            self._proof = log_in(self._access.user, self._access.server)
        return self._proof

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        *,
        proof: Proof,
        body: bytes | None,
        content_type: str,
    ) -> None:
        """By hand, since a header may have to be given several times."""
        connection.putrequest(method, target)
        headers = [("Accept", "application/json, */*"), ("User-Agent", _USER_AGENT)]
        if proof.authorization is not None:
            headers.append(("Authorization", proof.authorization))
        if body is not None:
            headers += [("Content-Type", content_type), ("Content-Length", str(len(body)))]
        for name, value in (*headers, *self._access.user.impersonation):
            connection.putheader(name, value)
        connection.endheaders(body)

    def _check(self, response: http.client.HTTPResponse) -> None:
        if 200 <= response.status < 300:
            return
        if response.status == HTTPStatus.UNAUTHORIZED:
            self._proof = None  # a plugin is asked again next time
            raise Unauthorized("the API server does not take your credentials: log in again")
        headers = dict(response.getheaders())
        raise refusal_of(response.status, response.read(), headers, is_create=False)


def _target(server: Server, path: str, query: Mapping[str, str] | None) -> str:
    """Path below the server's own, which a gateway such as Rancher's has."""
    asked = {name: value for name, value in (query or {}).items() if value}
    return urlsplit(server.url).path + path + (f"?{urlencode(asked)}" if asked else "")


def _tls(server: Server, proof: Proof) -> ssl.SSLContext | None:
    if not server.url.startswith("https:"):
        return None
    authority = server.authority.decode("ascii", "replace") if server.authority else None
    try:
        context = ssl.create_default_context(cadata=authority)
        if server.is_insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if proof.certificate is not None:
            _show_certificate(context, proof.certificate, proof.key or b"")
    except ssl.SSLError as error:
        raise NoAccess(f"the kubeconfig's certificates cannot be used: {error}") from error
    return context


def _show_certificate(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """OpenSSL takes them from a file only; nobody else can read it, and it goes at once."""
    with tempfile.NamedTemporaryFile(prefix="kubectl-bij-") as file:
        file.write(certificate + b"\n" + key)
        file.flush()
        context.load_cert_chain(file.name)


def _open(server: Server, tls: ssl.SSLContext | None, seconds: float) -> http.client.HTTPConnection:
    """Make a connection that connects when it is used, through a proxy if one is to be used."""
    url = urlsplit(server.url)
    host, port = url.hostname or "", url.port or (80 if tls is None else 443)
    proxy = server.proxy_url or _proxy_of_environment(url.scheme, host)
    if tls is None:
        return http.client.HTTPConnection(host, port, timeout=seconds)
    near = urlsplit(proxy) if proxy else url
    connection = _NamedTLS(
        near.hostname or "",
        near.port or (8080 if proxy else port),
        timeout=seconds,
        context=tls,
    )
    connection.tls_name = server.tls_name
    if proxy:
        connection.set_tunnel(host, port)
    return connection


def _proxy_of_environment(scheme: str, host: str) -> str | None:
    from urllib.request import getproxies, proxy_bypass

    return None if proxy_bypass(host) else getproxies().get(scheme)


class _NamedTLS(http.client.HTTPSConnection):
    """TLS with a server whose certificate may have another name than its address."""

    tls_name: str | None = None

    def connect(self) -> None:
        """Connect as HTTPConnection does, proxy included, and then agree on TLS."""
        http.client.HTTPConnection.connect(self)
        name = self.tls_name or getattr(self, "_tunnel_host", None) or self.host
        context: ssl.SSLContext = self._context  # type: ignore[attr-defined] # typeshed omits it
        self.sock = context.wrap_socket(self.sock, server_hostname=name)
