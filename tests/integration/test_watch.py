"""The watch of cluster tests misses nothing, and goes on when the API server breaks it off."""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from testkit.cluster.api_server import RequestFailed
from testkit.cluster.kubectl import Kubectl
from testkit.deadlines import wait_for
from testkit.watch import Event, Watch

PODS = {"resource": "pods", "singularResource": "pod", "responseKind": {"kind": "Pod"}}
DISCOVERY = {
    "/api": [
        {
            "metadata": {},
            "versions": [{"version": "v1", "resources": [PODS | {"scope": "Namespaced"}]}],
        }
    ],
    "/apis": [],
}
GONE = {"kind": "Status", "code": 410, "message": "too old resource version"}
END = b""


def pod(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version)}}


def line(kind: str, found: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": found}).encode() + b"\n"


class FakeApiServer:
    """Lists `pods`, and has the one watch that is open tell what a test puts in `told`."""

    def __init__(self, port: int = 0) -> None:
        self.pods: list[dict[str, Any]] = []
        self.version = 1
        self.told: queue.Queue[bytes | None] = queue.Queue()
        """Lines; END ends the watch as its timeout does, None cuts the connection."""
        self.refusals: list[int] = []
        """The codes that the next watches are refused with."""
        self.watches: list[dict[str, list[str]]] = []
        """The queries of all watches."""
        handler = type("Handler", (_Handler,), {"api": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self.port = self._http.server_port

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            self._http.shutdown()
            for _ in self.watches:
                self.told.put(None)
            self._http.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    api: FakeApiServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if url.path in DISCOVERY:
            self._answer(200, {"items": DISCOVERY[url.path]})
        elif "watch" in query:
            self.api.watches.append(query)
            if self.api.refusals:
                self._answer(self.api.refusals.pop(), GONE)
            else:
                self._tell()
        else:
            metadata = {"resourceVersion": str(self.api.version)}
            header = {"apiVersion": "v1", "kind": "PodList", "metadata": metadata}
            self._answer(200, header | {"items": self.api.pods})

    def _answer(self, code: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode() + b"\n"
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _tell(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while (told := self.api.told.get()) is not None:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(told), told))
            if told == END:
                return
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[FakeApiServer]:
    server = FakeApiServer()
    with server.running():
        yield server


def kubectl_of(server: FakeApiServer, folder: Path) -> Kubectl:
    document = {
        "clusters": [{"name": "fake", "cluster": {"server": f"http://127.0.0.1:{server.port}"}}],
        "users": [{"name": "fake", "user": {}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
        "current-context": "fake",
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(document), encoding="utf-8")
    return Kubectl(folder / "kubectl", path)


class Recorded:
    """A watch of pods, and what it told."""

    def __init__(self, server: FakeApiServer, folder: Path) -> None:
        self.told: list[str] = []
        self.watch = Watch(
            kubectl_of(server, folder),
            "pods",
            labels="is=watched",
            take=self._take,
            begin=lambda: self.told.append("begun"),
        )

    def _take(self, event: Event) -> None:
        self.told.append(f"{event.kind} {event.object['metadata']['name']}")

    def wait(self, *told: str) -> None:
        """Wait until something was told, and exactly that."""
        wait_for(
            lambda: len(self.told) >= len(told) and self.watch.is_running(),
            seconds=20,
            what=f"{told} while the watch runs",
            explain=lambda: f"told: {self.told}",
        )
        assert self.told == list(told)


@pytest.fixture
def recorded(api: FakeApiServer, tmp_path: Path) -> Recorded:
    return Recorded(api, tmp_path)


def test_it_tells_what_was_there_and_what_happens_after_the_list(
    api: FakeApiServer, recorded: Recorded
) -> None:
    api.pods, api.version = [pod("a", 3)], 7
    with recorded.watch:
        api.pods, api.version = [], 9  # what the list no longer shows comes by the watch
        api.told.put(line("ADDED", pod("b", 8)))
        api.told.put(line("DELETED", pod("b", 9)))
        recorded.wait("begun", "ADDED a", "ADDED b", "DELETED b")
    assert not recorded.watch.is_running()
    (query,) = api.watches
    assert (query["resourceVersion"], query["labelSelector"]) == (["7"], ["is=watched"])


def test_what_it_found_has_the_kind_that_a_list_leaves_out(
    api: FakeApiServer, tmp_path: Path
) -> None:
    api.pods = [pod("a", 1)]
    found: list[Event] = []
    with Watch(kubectl_of(api, tmp_path), "pods", take=found.append):
        wait_for(lambda: found, seconds=20, what="the pod")
    assert found == [Event("ADDED", {"apiVersion": "v1", "kind": "Pod", **pod("a", 1)})]


def test_it_is_refused_without_a_server(tmp_path: Path) -> None:
    server = FakeApiServer()
    with server.running():
        pass
    with pytest.raises(RequestFailed), Recorded(server, tmp_path).watch:
        pass


def test_it_goes_on_where_a_watch_only_ended(api: FakeApiServer, recorded: Recorded) -> None:
    api.pods = [pod("a", 1)]
    with recorded.watch:
        api.told.put(line("BOOKMARK", pod("", 5)))
        api.told.put(END)
        api.told.put(line("DELETED", pod("a", 6)))
        recorded.wait("begun", "ADDED a", "DELETED a")
    assert [query["resourceVersion"] for query in api.watches] == [["1"], ["5"]]


@pytest.mark.parametrize(
    "cut",
    [
        pytest.param([None], id="between two lines"),
        pytest.param([line("MODIFIED", pod("a", 8))[:9], None], id="in the middle of a line"),
        pytest.param([line("MODIFIED", pod("a", 8))[:9], END], id="ended in the middle of a line"),
        pytest.param([line("ERROR", GONE), END], id="its version has expired"),
    ],
)
def test_it_lists_again_after_a_cut(
    api: FakeApiServer, recorded: Recorded, cut: list[bytes | None]
) -> None:
    with recorded.watch:
        api.told.put(line("ADDED", pod("a", 7)))
        recorded.wait("begun", "ADDED a")
        api.pods, api.version = [pod("b", 9)], 9
        for told in cut:
            api.told.put(told)
        recorded.wait("begun", "ADDED a", "begun", "ADDED b")
    assert [query["resourceVersion"] for query in api.watches] == [["1"], ["9"]]


def test_it_lists_again_if_a_watch_is_refused(api: FakeApiServer, recorded: Recorded) -> None:
    api.refusals = [410]
    with recorded.watch:
        recorded.wait("begun", "begun")


def test_it_lists_again_when_a_server_says_nothing_for_too_long(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testkit.watch._SILENT_SECONDS", 1)
    with recorded.watch:
        recorded.wait("begun", "begun")


def test_it_lists_again_when_a_server_that_was_gone_is_back(tmp_path: Path) -> None:
    server = FakeApiServer()
    recorded = Recorded(server, tmp_path)
    with ExitStack() as stack:
        with server.running():
            stack.enter_context(recorded.watch)
            recorded.wait("begun")
        wait_for(lambda: not recorded.watch.is_running(), seconds=20, what="the cut")
        time.sleep(1)  # it tries in vain
        assert not recorded.watch.is_running()
        again = FakeApiServer(server.port)
        again.pods = [pod("a", 1)]
        stack.enter_context(again.running())
        recorded.wait("begun", "begun", "ADDED a")


def test_it_ends_promptly_though_nothing_happens(recorded: Recorded) -> None:
    with recorded.watch:
        recorded.wait("begun")
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert not recorded.watch.is_running()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_in_take_is_seen_in_that_it_runs_no_more(
    api: FakeApiServer, tmp_path: Path
) -> None:
    def take(event: Event) -> None:
        raise RequestFailed(event.kind)  # not mistaken for one of the watch itself

    with Watch(kubectl_of(api, tmp_path), "pods", take=take) as watch:
        wait_for(watch.is_running, seconds=20, what="the watch")
        api.told.put(line("ADDED", pod("a", 7)))
        wait_for(lambda: not watch.is_running(), seconds=20, what="the error")
        time.sleep(1)
        assert not watch.is_running()
        assert len(api.watches) == 1
