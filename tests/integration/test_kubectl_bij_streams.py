"""Exit codes of `kubectl bij`, which scripts depend on, where nobody can be told anything."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from testkit.bij_sessions import complete_job, failed_job, running_job
from testkit.broken_streams import STDERR, STDOUT, in_shell

KUBECTL_BIJ = (sys.executable, "-m", "batch_inference_operator.kubectl_bij")
JOBS = {
    name: make(name)
    for name, make in (
        ("done", complete_job),
        ("failed", failed_job),
        ("running", running_job),
    )
}
NO_SPACE = "kubectl bij: stdout cannot be written: No space left on device\n"


class Api(BaseHTTPRequestHandler):
    """Serves `JOBS` and no events; a watch ends at once, so that jobs are listed over and over."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if "watch" in query:
            return self.answer(b"")
        if url.path.endswith("/batchinferencejobs"):
            name = query.get("fieldSelector", [""])[0].removeprefix("metadata.name=")
            return self.list([job for key, job in JOBS.items() if name in ("", key)])
        if url.path.endswith("/events"):
            return self.list([])
        return self.answer(json.dumps(JOBS[url.path.rpartition("/")[2]]).encode())

    def do_PATCH(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(json.dumps(JOBS[urlsplit(self.path).path.rpartition("/")[2]]).encode())

    def list(self, items: list[dict]) -> None:
        self.answer(json.dumps({"metadata": {"resourceVersion": "7"}, "items": items}).encode())

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is told of requests."""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Leads to a server of these jobs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kubeconfig = tmp_path_factory.mktemp("access") / "config"
    write_kubeconfig(kubeconfig, f"http://127.0.0.1:{server.server_port}")
    yield {**os.environ, "KUBECONFIG": str(kubeconfig)}
    server.shutdown()
    server.server_close()


def write_kubeconfig(path: Path, server: str) -> None:
    document = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    path.write_text(yaml.safe_dump(document))


VERDICTS = {
    "wait for one that is complete": (("wait", "done"), 0),
    "wait for one that has failed": (("wait", "done", "failed"), 1),
    "wait too long": (("wait", "done", "running", "--timeout", "1"), 2),
    "watch one that has failed": (("watch", "failed"), 1),
    "wait for one that is not there": (("wait", "other"), 3),
    "suspend": (("suspend", "running"), 0),
    "no such command": (("stat", "done"), 64),
}
PRINTING = [words for words, code in VERDICTS.values() if code in (0, 1, 2)]
BROKEN = {
    **{f"stdout {how}": streams for how, streams in STDOUT.items()},
    **{f"stderr {how}": streams for how, streams in STDERR.items()},
    "all closed": "<&- >&- 2>&-",
}


@pytest.mark.parametrize("streams", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize(("words", "code"), VERDICTS.values(), ids=VERDICTS)
def test_what_is_so_decides_the_code_and_not_who_can_be_told(environment, words, code, streams):
    ended = in_shell(streams, *KUBECTL_BIJ, *words, environment=environment)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    is_told = "note: stdout cannot be written: No space left on device" in ended.stderr
    assert is_told is (streams == STDOUT["full"] and words in PRINTING)


LOSSES = {"without a reader": ("| true", 0, ""), "full": (">/dev/full", 3, NO_SPACE)}


@pytest.mark.parametrize(("streams", "code", "said"), LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize(
    "words", [("status", "done"), ("watch",)], ids=["a page", "without an end"]
)
def test_what_only_shows_ends_where_it_cannot_be_shown(environment, words, streams, code, said):
    ended = in_shell(streams, *KUBECTL_BIJ, *words, environment=environment)
    assert (ended.returncode, ended.stderr) == (code, said)


def test_a_page_that_nobody_wants_is_no_error(environment):
    ended = in_shell(">&-", *KUBECTL_BIJ, "status", "done", environment=environment)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("streams", STDOUT.values(), ids=STDOUT)
@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_succeeds_although_nobody_can_read_it(environment, flag, streams):
    ended = in_shell(streams, *KUBECTL_BIJ, flag, environment=environment)
    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr


def test_a_wait_of_centuries_is_none_that_fails(environment):
    words = ("wait", "done", "--timeout", "300000d")
    assert in_shell("", *KUBECTL_BIJ, *words, environment=environment).returncode == 0


def test_a_login_asks_nobody_where_stdin_is_closed(environment, tmp_path):
    document = yaml.safe_load(Path(environment["KUBECONFIG"]).read_text())
    proof = {"status": {"token": "t"}}
    document["users"][0]["user"] = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "interactiveMode": "IfAvailable",
            "command": "echo",
            "args": [json.dumps(proof)],
        }
    }
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(yaml.safe_dump(document))
    words = ("wait", "done", "--kubeconfig", kubeconfig)
    ended = in_shell("<&-", *KUBECTL_BIJ, *words, environment=environment)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_defect_is_no_job_that_has_failed(environment, monkeypatch):
    monkeypatch.setitem(JOBS, "done", {"metadata": "of nothing"})
    ended = in_shell("", *KUBECTL_BIJ, "status", "done", environment=environment)
    assert ended.returncode == 3
    assert "Traceback" in ended.stderr
