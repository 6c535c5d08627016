"""The interface that everything else uses to read and write bytes.

Keys are relative to the store's root, separated by `/`, never with a leading slash or `..`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


class AlreadyExists(Exception):
    """A create-exclusive write or publish found the key taken."""


class NotFound(Exception):
    """There is no object under the key."""


class NoSuchBucket(NotFound):
    """There is nothing under any key: the bucket itself is missing."""


class VersionChanged(Exception):
    """The object is not the version that was asked for."""


class StoreError(Exception):
    """Anything else: the outcome of a write is then unknown and must be read back."""


class AccessDenied(StoreError):
    """The store refused the credentials or the file's permissions."""


class FileAccessDenied(AccessDenied):
    """A file system refused: no credentials would help, and the message says what does."""


class Misconfigured(StoreError):
    """The store cannot be asked as it is named or configured; the message says what to change."""


class VolumeFull(StoreError):
    """No space or quota left."""


class Unsupported(StoreError):
    """The store cannot do at all what was asked of it."""


class ObjectInfo(NamedTuple):
    """An object as a listing shows it; `version` as in plan.InputFile."""

    key: str
    size: int
    version: str
    dangling: bool = False
    """A symbolic link that leads to nothing, listed only for those who ask for such."""


class Written(NamedTuple):
    """What a sink wrote: key, size in bytes, sha256 as 64 hex digits."""

    key: str
    size: int
    sha256: str


class Sink(Protocol):
    """A file-like object that becomes visible as a whole at `commit`, or not at all.

    Satisfies what pyarrow needs of a Python file: write, flush, closed, writable, tell.
    """

    closed: bool

    def write(self, data: bytes | memoryview) -> int: ...
    def flush(self) -> None: ...
    def tell(self) -> int: ...
    def writable(self) -> bool: ...
    def readable(self) -> bool: ...
    def seekable(self) -> bool: ...

    def close(self) -> None:
        """What pyarrow calls when it is done writing; makes nothing visible by itself."""

    def commit(self) -> Written:
        """Finish the object. After this it is complete under its key."""

    def abort(self) -> None:
        """Leave nothing behind. Safe to call at any time, also after commit failed."""


class RandomAccess(Protocol):
    """One pinned object, read by ranges.

    Every read raises VersionChanged when the object is not the pinned version any more, NotFound
    when it is gone, StoreError when the bytes could not be fetched.
    """

    size: int

    def read_at(self, offset: int, length: int) -> memoryview: ...
    def read_ranges(self, ranges: list[tuple[int, int]]) -> list[memoryview]:
        """Read (offset, length) ranges in as few requests as is sensible, concurrently."""

    def local_path(self) -> str | None:
        """The file's path where the object is a local file, so that it may be mapped."""

    def close(self) -> None: ...


class Store(Protocol):
    """A folder or a prefix of an object store. Safe to use from several threads."""

    uri: str
    """For people: the root without credentials, with a trailing slash."""
    scope: str
    """`posix` or `object`."""

    def get(self, key: str) -> bytes:
        """The whole object. Raises NotFound."""

    def get_with_version(self, key: str) -> tuple[bytes, str]:
        """The whole object, and what `replace` takes as its version."""

    def create(self, key: str, body: bytes) -> None:
        """Create-exclusive and durable. Raises AlreadyExists, also after a lost response."""

    def create_all(
        self, bodies: Mapping[str, bytes], *, after: Iterable[str] = ()
    ) -> dict[str, AlreadyExists | StoreError]:
        """Create several as `create` does, sharing the cost; return what failed, by key.

        No key appears before the objects in `after` would survive a power cut.
        """

    def replace(self, key: str, body: bytes, *, version: str) -> None:
        """Replace the object only if it is still `version`, as `get_with_version` gave it.

        Raises VersionChanged, also after a lost response.
        """

    def open_sink(self, key: str) -> Sink:
        """Write a new object under a key that nobody else uses."""

    def publish(self, source: str, target: str) -> None:
        """Make `target` the same bytes as `source`, exclusively. Raises AlreadyExists, NotFound."""

    def info(self, key: str) -> ObjectInfo:
        """Raises NotFound."""

    def list(
        self,
        prefix: str = "",
        *,
        skip: str | None = None,
        only: Callable[[str], bool] | None = None,
        dangling: bool = False,
    ) -> Iterator[ObjectInfo]:
        """All objects below the folder `prefix` (recursive, sorted by key).

        The folder `skip` directly below `prefix` is not looked into, nor is what `only` refuses:
        it is asked by key, for folders with a `/` at the end. No folder `lost+found` of a file
        system is looked into: what a check has found there is nobody's data. Links that lead to
        nothing are no objects: they are left out, unless `dangling` asks for them.
        """

    def open(self, key: str, *, size: int, version: str) -> RandomAccess: ...

    def delete(self, keys: Iterable[str]) -> None:
        """Delete the keys; a missing one is success."""

    def sync(self, keys: Iterable[str]) -> None:
        """Return once objects and names survive a power cut; object stores always do."""
