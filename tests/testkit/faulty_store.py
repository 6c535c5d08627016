"""Stores that fail on purpose: in memory, and around any other store."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from enum import StrEnum

from batch_inference_runner.storage.store import (
    AlreadyExists,
    NotFound,
    ObjectInfo,
    StoreError,
    VersionChanged,
    Written,
)


class Crash(BaseException):
    """The process has died; not an Exception, so that nothing can handle it."""


class Fault(StrEnum):
    """What happens at one write."""

    CRASH_BEFORE = "the process dies before the effect"
    CRASH_AFTER = "the process dies after the effect"
    ERROR_BEFORE = "an error, and no effect"
    LOST_RESPONSE = "an error, although the write took effect"
    MET_ITSELF = "the client retries by itself and meets its own write"


CRASHES = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER)


class MemorySink:
    """A sink of a MemoryStore."""

    def __init__(self, store, key):
        self.closed = False
        self._store, self._key, self._body = store, key, bytearray()

    def write(self, data):
        self._body += data
        return memoryview(data).nbytes

    def flush(self):
        pass

    def tell(self):
        return len(self._body)

    def writable(self):
        return True

    def readable(self):
        return False

    def seekable(self):
        return False

    def close(self):
        self.closed = True

    def commit(self):
        body = bytes(self._body)
        self._store.put(self._key, body)
        return Written(self._key, len(body), hashlib.sha256(body).hexdigest())

    def abort(self):
        self.closed = True


class MemoryFile:
    """An object of a MemoryStore, pinned by having been copied."""

    def __init__(self, body):
        self.size = len(body)
        self._body = body

    def read_at(self, offset, length):
        return memoryview(self._body)[offset : offset + length]

    def read_ranges(self, ranges):
        return [self.read_at(*each) for each in ranges]

    def local_path(self):
        return None

    def close(self):
        pass


class MemoryStore:
    """A store in memory. `exclusive=False`: like a server that ignores If-None-Match."""

    def __init__(self, *, scope="object", exclusive=True, conditional=True):
        self.uri = "memory://store/"
        self.scope = scope
        self.objects: dict[str, tuple[bytes, int]] = {}
        self._exclusive = exclusive
        self._conditional = conditional
        self._version = 0
        self._lock = threading.Lock()

    def put(self, key, body):
        with self._lock:
            self._put(key, body)

    def get(self, key):
        return self.get_with_version(key)[0]

    def get_with_version(self, key):
        with self._lock:
            body, version = self._found(key)
            return body, str(version)

    def create(self, key, body):
        with self._lock:
            if self._exclusive and key in self.objects:
                raise AlreadyExists(key)
            self._put(key, body)

    def create_all(self, bodies, *, after=()):
        for key in after:
            self.info(key)
        failed = {}
        for key, body in bodies.items():
            try:
                self.create(key, body)
            except AlreadyExists as error:
                failed[key] = error
        return failed

    def replace(self, key, body, *, version):
        with self._lock:
            current = self.objects.get(key)
            if self._conditional and (current is None or str(current[1]) != version):
                raise VersionChanged(key)
            self._put(key, body)

    def open_sink(self, key):
        return MemorySink(self, key)

    def publish(self, source, target):
        with self._lock:
            body, _ = self._found(source)
            if self._exclusive and target in self.objects:
                raise AlreadyExists(target)
            self._put(target, body)

    def info(self, key):
        with self._lock:
            body, version = self._found(key)
            return ObjectInfo(key, len(body), str(version))

    def open(self, key, *, size, version):
        if self.info(key) != ObjectInfo(key, size, version):
            raise VersionChanged(key)
        return MemoryFile(self._found(key)[0])

    def list(self, prefix="", *, skip=None, only=None, dangling=False):  # noqa: ARG002 (no links)
        folder = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        with self._lock:
            keys = [
                key
                for key in sorted(self.objects)
                if key.startswith(folder)
                and key[len(folder) :].partition("/")[0] != skip
                and (only is None or only(key))
            ]
        return iter([self.info(key) for key in keys])

    def delete(self, keys):
        with self._lock:
            for key in keys:
                self.objects.pop(key, None)

    def sync(self, keys):
        for key in keys:
            self.info(key)

    def _put(self, key, body):
        self._version += 1
        self.objects[key] = (bytes(body), self._version)

    def _found(self, key):
        if key not in self.objects:
            raise NotFound(key)
        return self.objects[key]


@dataclass
class FaultyStore:
    """Another store, seen by one process; its write number `at` (from 1) suffers `fault`.

    After a crash every call raises Crash: a dead process does nothing more.
    """

    inner: object
    at: int = 0
    fault: Fault = Fault.CRASH_BEFORE
    writes: int = 0
    dead: bool = False
    log: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def uri(self):
        return self.inner.uri

    @property
    def scope(self):
        return self.inner.scope

    def get(self, key):
        self._check()
        return self.inner.get(key)

    def get_with_version(self, key):
        self._check()
        return self.inner.get_with_version(key)

    def info(self, key):
        self._check()
        return self.inner.info(key)

    def list(self, prefix="", *, skip=None, only=None, dangling=False):
        self._check()
        return self.inner.list(prefix, skip=skip, only=only, dangling=dangling)

    def sync(self, keys):
        self._check()
        self.inner.sync(keys)

    def create(self, key, body):
        self._write(f"create {key}", lambda: self.inner.create(key, body))

    def create_all(self, bodies, *, after=()):
        self._check()
        failed = {}
        for key, body in bodies.items():
            try:
                self._write(f"create {key}", lambda key=key, body=body: self._one(key, body, after))
            except (AlreadyExists, StoreError) as error:
                failed[key] = error
        return failed

    def replace(self, key, body, *, version):
        self._write(f"replace {key}", lambda: self.inner.replace(key, body, version=version))

    def publish(self, source, target):
        self._write(f"publish {target}", lambda: self.inner.publish(source, target))

    def delete(self, keys):
        for key in list(keys):
            self._write(f"delete {key}", lambda key=key: self.inner.delete([key]))

    def open_sink(self, key):
        self._check()
        sink = self.inner.open_sink(key)
        commit = sink.commit
        sink.commit = lambda: self._write(f"stage {key}", commit)
        return sink

    def _one(self, key, body, after):
        failed = self.inner.create_all({key: body}, after=after)
        if failed:
            raise failed[key]

    def _check(self):
        if self.dead:
            raise Crash

    def _write(self, what, effect):
        with self._lock:
            self._check()
            self.writes += 1
            self.log.append(what)
            if self.writes != self.at:
                return effect()
            return self._suffer(what, effect)

    def _suffer(self, what, effect):
        if self.fault is Fault.CRASH_BEFORE:
            self.dead = True
            raise Crash(what)
        if self.fault is Fault.ERROR_BEFORE:
            raise StoreError(f"injected: {what}")
        result = effect()
        if self.fault is Fault.CRASH_AFTER:
            self.dead = True
            raise Crash(what)
        if self.fault is Fault.LOST_RESPONSE or what.startswith(("stage", "delete")):
            raise StoreError(f"injected after the effect: {what}")
        del result
        return effect()
