"""A proxy in front of an API server that misbehaves on purpose, on plain HTTP of the loopback.

It also hides jobs from every other operator of the cluster: their manifests say `managedBy:
HIDDEN`, and whoever looks through the proxy reads the operator's own name there instead.

    with running_proxy(kubeconfig) as proxy:
        with proxy.disturbed(Answer(503), status_writes, times=3) as rule:
            ...
        assert rule.hits == 3
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
from aiohttp import web
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import load_kube_config

from batch_inference_api.v1alpha1.job import MANAGER

HIDDEN = "tests.batchinference.dev/proxy"
_FOR_EVER_SECONDS = 3600.0
_LONGEST_LINE_BYTES = 8 * 1024 * 1024
_METHODS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_EXPIRED = {
    "type": "ERROR",
    "object": {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": "Expired",
        "message": "too old resource version: 1 (2)",
        "code": 410,
    },
}


@dataclass(frozen=True)
class Call:
    """A request, as the API names it: `patch batchinferencejobs/status churn`."""

    verb: str
    resource: str
    """The plural, with the subresource if there is one."""
    name: str
    query: dict[str, list[str]] = field(repr=False, compare=False)
    body: bytes = field(repr=False, compare=False)
    at: float = field(default_factory=time.monotonic, compare=False)

    @property
    def is_of_everything(self) -> bool:
        """Whether a list is narrowed to no single job."""
        labels, fields = (self.query.get(f"{each}Selector", [""])[0] for each in ("label", "field"))
        return "job-uid" not in labels and not fields

    def is_about(self, name: str) -> bool:
        """Whether it names an object, or a child of it, in its path or its body."""
        found = self.name or str((json.loads(self.body or b"{}").get("metadata") or {}).get("name"))
        return found == name or found.startswith((f"{name}-", f"{name}."))


@dataclass(frozen=True)
class Answer:
    """An answer of the proxy's own, instead of the server's or after the call took effect."""

    code: int
    reason: str = ""
    retry_after: int | None = None
    took_effect: bool = False


@dataclass(frozen=True)
class Delay:
    """The call is passed on later; by default after everybody has given up."""

    seconds: float = _FOR_EVER_SECONDS


@dataclass(frozen=True)
class Cut:
    """The connection is closed without an answer, or in the middle of a watch."""


@dataclass(frozen=True)
class Stale:
    """Lists are answered as the same list was answered the last time before."""


@dataclass(frozen=True)
class Freeze:
    """A watch stays open and says nothing any more."""


@dataclass(frozen=True)
class Lose:
    """Events of a watch are not passed on."""


@dataclass(frozen=True)
class Twice:
    """Events of a watch come twice."""


@dataclass(frozen=True)
class Late:
    """Events of a watch come later, in their order."""

    seconds: float


@dataclass(frozen=True)
class Expire:
    """A watch ends with the news that its version is too old, in place of an event."""


@dataclass(frozen=True)
class Prune:
    """Objects lack what an older CRD does not know; `prune` takes it out of one."""

    prune: Callable[[dict[str, Any]], None]


Fault = Answer | Delay | Cut | Stale | Freeze | Lose | Twice | Late | Expire | Prune


@dataclass
class Rule:
    """A fault, the calls that it happens to, and how often it did."""

    fault: Fault
    applies: Callable[[Call], bool]
    times: int | None = None
    hits: int = 0


class ApiProxy:
    """What was asked, and what goes wrong."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[Call] = []
        self._rules: list[Rule] = []
        self._lists: dict[str, bytes] = {}
        self._watches: set[asyncio.Task[Any]] = set()

    @contextmanager
    def disturbed(
        self, fault: Fault, applies: Callable[[Call], bool], *, times: int | None = None
    ) -> Iterator[Rule]:
        """Have a fault happen to calls for a while, or to the first few only."""
        rule = Rule(fault, applies, times)
        self._rules.append(rule)
        try:
            yield rule
        finally:
            self._rules.remove(rule)

    def cut_watches(self) -> None:
        """Close the connections of all watches that are open, as a server does that dies."""
        for watch in self._watches.copy():
            watch.get_loop().call_soon_threadsafe(watch.cancel)

    def seen(self, applies: Callable[[Call], bool]) -> list[Call]:
        return [call for call in self.calls if applies(call)]

    def fault_of(self, call: Call, kinds: type | tuple[type, ...]) -> Fault | None:
        """The fault that happens to a call now."""
        for rule in self._rules:
            is_left = rule.times is None or rule.hits < rule.times
            if is_left and isinstance(rule.fault, kinds) and rule.applies(call):
                rule.hits += 1
                return rule.fault
        return None

    async def handle(self, request: web.Request, server: _Server) -> web.StreamResponse:
        call = _read_call(request.method, request.rel_url.raw_path_qs, await request.read())
        self.calls.append(call)
        fault = self.fault_of(call, (Answer, Delay, Cut, Stale))
        if isinstance(fault, Cut):
            assert request.transport is not None
            request.transport.abort()
        if isinstance(fault, Delay):
            await asyncio.sleep(fault.seconds)
        if isinstance(fault, Answer):
            if fault.took_effect:
                await _pass_on(request, call, server)
            return _answer(fault)
        if call.verb == "watch":
            watch = asyncio.ensure_future(self._relay(request, call, server))
            self._watches.add(watch)
            watch.add_done_callback(self._watches.discard)
            return await watch
        status, headers, body = await _pass_on(request, call, server)
        body = self._pruned(call, body)
        if call.verb == "list":
            body = self._remember(request.path_qs, body, is_stale=isinstance(fault, Stale))
        return web.Response(status=status, headers=headers, body=body)

    def _remember(self, path: str, body: bytes, *, is_stale: bool) -> bytes:
        if is_stale and path in self._lists:
            return self._lists[path]
        self._lists[path] = body
        return body

    def _pruned(self, call: Call, body: bytes) -> bytes:
        """Prune a list, an event of a watch, or an object."""
        fault = self.fault_of(call, Prune)
        if not isinstance(fault, Prune):
            return body
        document = json.loads(body)
        for item in document.get("items") or [document.get("object", document)]:
            fault.prune(item)
        return json.dumps(document).encode() + b"\n"

    async def _relay(self, request: web.Request, call: Call, server: _Server) -> web.StreamResponse:
        async with server.send(request, call) as answer:
            response = web.StreamResponse(status=answer.status, headers=_kept(answer.headers))
            await response.prepare(request)
            async for line in answer.content:
                if not await self._relay_event(response, call, _revealed(line)):
                    break
        return response

    async def _relay_event(self, response: web.StreamResponse, call: Call, line: bytes) -> bool:
        """Pass an event on as the faults of the moment will have it; False: the watch ends."""
        fault = self.fault_of(call, (Freeze, Lose, Twice, Late, Expire, Cut))
        if isinstance(fault, Freeze):
            await asyncio.sleep(_FOR_EVER_SECONDS)
        if isinstance(fault, Late):
            await asyncio.sleep(fault.seconds)
        if isinstance(fault, Expire):
            await response.write(json.dumps(_EXPIRED).encode() + b"\n")
        if isinstance(fault, Expire | Cut):
            return False
        if not isinstance(fault, Lose):
            event = self._pruned(call, line)
            await response.write(event * (2 if isinstance(fault, Twice) else 1))
        return True


@dataclass(frozen=True)
class _Server:
    """The API server, and how to be let in."""

    url: str
    headers: dict[str, str]
    session: aiohttp.ClientSession

    @asynccontextmanager
    async def send(self, request: web.Request, call: Call) -> AsyncIterator[aiohttp.ClientResponse]:
        names = ("Accept", "Content-Type", "User-Agent")
        kept = {name: request.headers[name] for name in names if name in request.headers}
        async with self.session.request(
            request.method,
            self.url + request.rel_url.raw_path_qs,
            data=call.body or None,
            headers=kept | self.headers,
        ) as answer:
            yield answer


async def _pass_on(
    request: web.Request, call: Call, server: _Server
) -> tuple[int, dict[str, str], bytes]:
    async with server.send(request, call) as answer:
        return answer.status, _kept(answer.headers), _revealed(await answer.read())


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    names = ("Content-Type", "Retry-After", "Warning")
    return {name: headers[name] for name in names if name in headers}


def _revealed(body: bytes) -> bytes:
    return body.replace(f'"managedBy":"{HIDDEN}"'.encode(), f'"managedBy":"{MANAGER}"'.encode())


def _answer(fault: Answer) -> web.Response:
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": fault.reason,
        "message": f"the proxy says {fault.code}",
        "code": fault.code,
    }
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    return web.json_response(status, status=fault.code, headers=headers)


def _read_call(method: str, url: str, body: bytes) -> Call:
    parts = urlsplit(url)
    words = parts.path.strip("/").split("/")
    below = words[2:] if words[0] == "api" else words[3:]
    if below[:1] == ["namespaces"] and len(below) > 2:
        below = below[2:]
    resource, name, part = [*below, "", "", ""][:3]
    verb = _METHODS.get(method) or ("get" if name else "list")
    query = parse_qs(parts.query)
    if query.get("watch", ["false"])[0] in ("true", "1"):
        verb = "watch"
    return Call(verb, f"{resource}/{part}" if part else resource, name, query, body)


@contextmanager
def running_proxy(kubeconfig: Path) -> Iterator[ApiProxy]:
    """Run a proxy on a free port, with the rights of that kubeconfig."""
    proxy, started, stopped = ApiProxy(), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with _connected(kubeconfig) as server, _listening(proxy, server):
            started.set()
            await stopped.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(10), "the proxy did not start"
        yield proxy
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(10)
        loop.close()


@asynccontextmanager
async def _connected(kubeconfig: Path) -> AsyncIterator[_Server]:
    configuration = Configuration()
    await load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    token = configuration.api_key.get("BearerToken")
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context, limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
        read_bufsize=_LONGEST_LINE_BYTES,
    ) as session:
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": token} if token else {})
        yield _Server(configuration.host, headers, session)


@asynccontextmanager
async def _listening(proxy: ApiProxy, server: _Server) -> AsyncIterator[None]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await proxy.handle(request, server)

    app = web.Application(client_max_size=_LONGEST_LINE_BYTES)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]
    proxy.url = f"http://127.0.0.1:{port}"
    try:
        yield
    finally:
        await runner.cleanup()


def write_proxied_kubeconfig(path: Path, proxy: ApiProxy) -> Path:
    """Write a kubeconfig that leads to the proxy, which asks nobody who they are."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "proxy", "cluster": {"server": proxy.url}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "nobody"}}],
        "current-context": "proxy",
    }
    path.write_text(json.dumps(document), encoding="utf-8")
    return path
