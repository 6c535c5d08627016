"""A real S3 server for tests: versitygw over a temporary folder."""

from __future__ import annotations

import hashlib
import hmac
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from batch_inference_runner.storage.object_store import ObjectStore
from testkit.skipping import skip_or_fail

ACCESS_KEY = "test-access-key"
SECRET_KEY = "test-secret-key-of-the-s3-server"
BUCKET = "bucket"
_ROOT = Path(__file__).parents[2]
_READY_SECONDS = 15


@dataclass(frozen=True)
class S3Server:
    """A running server: its endpoint, and a folder of credentials for it."""

    endpoint: str
    credentials_dir: Path
    root: Path

    def store(self, prefix: str, *, endpoint: str | None = None) -> ObjectStore:
        """Return a store below a prefix of the bucket."""
        folder = self.credentials_dir
        if endpoint is not None:
            folder = write_credentials(self.root / f"via-{endpoint.rpartition(':')[2]}", endpoint)
        return ObjectStore(f"s3://{BUCKET}/{prefix}", str(folder))

    def put_folder_marker(self, key: str) -> None:
        """Write the empty object `<folder>/` that consoles make for a folder.

        Signed by hand, because object_store clients cannot name such a key.
        """
        assert key.endswith("/")
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        path = quote(f"/{BUCKET}/{key}", safe="/-_.~")
        host = self.endpoint.removeprefix("http://")
        empty = hashlib.sha256(b"").hexdigest()
        signed = {"host": host, "x-amz-content-sha256": empty, "x-amz-date": now}
        headers = "".join(f"{name}:{value}\n" for name, value in signed.items())
        names = ";".join(signed)
        request = f"PUT\n{path}\n\n{headers}\n{names}\n{empty}"
        scope = f"{now[:8]}/us-east-1/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = f"AWS4{SECRET_KEY}".encode()
        for part in (*scope.split("/"), text):
            signature = hmac.new(signature, part.encode(), "sha256").digest()
        authorization = (
            f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, "
            f"Signature={signature.hex()}"
        )
        put = urllib.request.Request(
            f"{self.endpoint}{path}",
            data=b"",
            headers={**signed, "Authorization": authorization},
            method="PUT",
        )
        urllib.request.urlopen(put, timeout=10).close()


def find_binary() -> Path:
    """Return the server's binary; skip, or fail under CI, when it was not built."""
    folder = Path(os.environ.get("BIJ_TOOLS_DIR") or _ROOT / ".tools" / "bin")
    candidates = (folder / "versitygw", folder / "bin" / "versitygw")
    found = next((path for path in candidates if path.exists()), None)
    if found is None:
        skip_or_fail(f"no versitygw in {folder}: `make tools` builds it")
    return found


def write_credentials(folder: Path, endpoint: str, *, secret: str = SECRET_KEY) -> Path:
    """Write a folder of credentials as a mounted Secret would be."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
    }
    for name, value in values.items():
        (folder / name).write_text(value + "\n")
    return folder


@contextmanager
def running_s3(folder: Path):
    """Start a server over `folder`, wait until it answers, and end it afterwards."""
    binary = find_binary()
    for name in ("data", "sidecar"):
        (folder / name).mkdir(parents=True)
    (folder / "data" / BUCKET).mkdir()
    port = free_port()
    command = [str(binary), "--port", f"127.0.0.1:{port}", "--quiet"]
    command += ["posix", "--sidecar", str(folder / "sidecar"), str(folder / "data")]
    environment = {**os.environ, "ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        endpoint = f"http://127.0.0.1:{port}"
        _wait_until_ready(process, endpoint, folder / "server.log")
        yield S3Server(endpoint, write_credentials(folder / "credentials", endpoint), folder)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _wait_until_ready(process: subprocess.Popen, endpoint: str, log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(endpoint, timeout=1)
        except urllib.error.HTTPError:
            return  # it answers, if only to refuse an anonymous caller
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"the S3 server at {endpoint} did not answer:\n{log.read_text()[-2000:]}")
