"""Sinks that keep what is written in memory."""

from __future__ import annotations

import hashlib

from batch_inference_runner.storage.store import Written


class MemorySink:
    """One object; `body` is None until it is committed."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.body: bytes | None = None
        self.aborted = False
        self.closed = False
        self._parts: list[bytes] = []

    def write(self, data) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def flush(self) -> None:
        pass

    def tell(self) -> int:
        return sum(map(len, self._parts))

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True

    def commit(self) -> Written:
        assert not self.aborted
        self.body = b"".join(self._parts)
        return Written(self.key, len(self.body), hashlib.sha256(self.body).hexdigest())

    def abort(self) -> None:
        self.aborted = True
        self._parts = []


class MemorySinks:
    """Opens sinks and remembers them by path: pass it as `open_sink`."""

    def __init__(self) -> None:
        self.opened: dict[str, MemorySink] = {}

    def __call__(self, path: str) -> MemorySink:
        assert path not in self.opened
        self.opened[path] = MemorySink(path)
        return self.opened[path]
