"""Fetches a model into a private folder and verifies what will be loaded.

The digest of a model of one file is the sha256 of the file, as `sha256sum` prints it. With external
data it is the sha256 over one line `<name> NUL <sha256 of the file> LF` per file, sorted by name.
"""

from __future__ import annotations

import hashlib
import mmap
import re
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob, Unavailable
from batch_inference_runner.models.graph_facts import GraphFacts, read_graph_facts
from batch_inference_runner.models.onnx_wire import NotOnnx
from batch_inference_runner.redaction import public_uri
from batch_inference_runner.storage.posix_errors import as_store_error
from batch_inference_runner.storage.store import (
    AccessDenied,
    Misconfigured,
    NotFound,
    ObjectInfo,
    StoreError,
    VersionChanged,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from batch_inference_api.runner_contract import Location, ModelConfig
    from batch_inference_runner.storage.store import Store

_ML_DOMAIN = "ai.onnx.ml"
_DOMAINS = frozenset({"", "ai.onnx", _ML_DOMAIN, "com.microsoft"})
_REFUSED_OPERATORS = frozenset({"EPContext"})
_QUANTIZED = re.compile(r"QLinear|Quantize|MatMulInteger|ConvInteger|MatMulNBits")
_SCALED_BY_BATCH = "DynamicQuantize"  # DynamicQuantizeLinear, ...MatMul, ...LSTM
_MAX_GRAPH_BYTES = 2 * 1024**3  # protobuf's own limit
_MAX_EXTERNAL_FILES = 10_000
_MAX_TOTAL_BYTES = 256 * 1024**3
_MAX_NAME_BYTES = 255  # of a file or a folder, on every usual file system
_BLOCK_BYTES = 8 * 1024 * 1024


class ModelFile(NamedTuple):
    """A verified private copy: `digest` is `sha256:<64 hex>` of exactly these bytes.

    In `quantized` models a difference in rounding may become one of a whole step.
    `scaled_by_batch` is an operator that takes these steps from the rows of a call, if there is
    one. Of `unchecked_shapes` ONNX Runtime does not find out by itself how wide the outputs are, so
    they may be declared wrongly.
    """

    path: Path
    digest: str
    quantized: bool = False
    scaled_by_batch: str | None = None
    unchecked_shapes: bool = False


def fetch_model(config: ModelConfig, into: Path) -> ModelFile:
    """Copy the model below the fresh folder `into` and verify it.

    Raises:
        InvalidJob: ModelNotFound, ModelDigestMismatch, ModelUnsafe, ModelUnsupported,
            InvalidSpec.
        AccessDenied: the model may not be read.
        Unavailable: the store could not be reached.
        OSError: the copy could not be written.
    """
    into.mkdir(mode=0o700, parents=True, exist_ok=True)
    into.chmod(0o700)
    uri = public_uri(config.location.uri)
    try:
        source = _source(config.location)
        path, facts, digests = _fetched(source, into, uri)
    except NotFound as error:
        raise InvalidJob(
            Reason.MODEL_NOT_FOUND,
            f"there is no model at {uri!r} ({error}); spec.model.storageUri must name an .onnx "
            "file, or a folder with exactly one",
        ) from error
    except Misconfigured as error:
        message = f"the model at {uri!r} cannot be fetched: {error}"
        raise InvalidJob(Reason.INVALID_SPEC, message) from error
    except AccessDenied as error:
        raise type(error)(f"the model at {uri!r} may not be read: {error}") from error
    except (StoreError, VersionChanged) as error:
        raise Unavailable(f"the model at {uri!r} could not be fetched: {error}") from error
    digest = _combined_digest(path.name, digests)
    if config.digest is not None and config.digest.lower() != digest:
        raise InvalidJob(
            Reason.MODEL_DIGEST_MISMATCH,
            f"the model at {uri!r} has digest {digest}, but spec.model.digest is {config.digest}; "
            "if the new model is wanted, change spec.model.digest",
        )
    _require_safe(facts)
    quantized = any(_QUANTIZED.search(name) for _, name in facts.operators)
    unchecked = any(domain == _ML_DOMAIN for domain, _ in facts.operators)
    return ModelFile(
        path=path,
        digest=digest,
        quantized=quantized,
        scaled_by_batch=_scaled_by_batch(facts),
        unchecked_shapes=unchecked,
    )


def _fetched(source: _Source, into: Path, uri: str) -> tuple[Path, GraphFacts, dict[str, str]]:
    """Copy the .onnx file and the files that it refers to; returns also their sha256 by name."""
    name = source.model_name()
    path = into / name
    digests = {name: source.copy(name, path, limit=_MAX_GRAPH_BYTES)}
    facts = _facts(path, uri)
    left = _MAX_TOTAL_BYTES
    for file in _external_files(facts, name):
        target = into / file
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            digests[file] = source.copy(file, target, limit=left)
        except NotFound as error:
            raise InvalidJob(
                Reason.MODEL_NOT_FOUND,
                f"the model at {uri!r} refers to the external data {file!r}, which is not there "
                f"({error}); it must lie beside the .onnx file, under this name: put it there, or "
                "export the model into a single file",
            ) from error
        left -= target.stat().st_size
    return path, facts, digests


def _external_files(facts: GraphFacts, model_name: str) -> list[str]:
    """Return the plain names of external data, which can be files beside the model."""
    files = {_inside(file) for file in facts.external_files}
    if len(files) > _MAX_EXTERNAL_FILES:
        raise _unsafe(f"it refers to {len(files)} external files, more than {_MAX_EXTERNAL_FILES}")
    if model_name in files:
        raise _unsafe("it names itself as external data")
    taken = files | {model_name}
    for file in sorted(files):
        for folder in map(str, PurePosixPath(file).parents):
            if folder in taken:
                raise _unsafe(f"its external data {file!r} would lie inside the file {folder!r}")
    return sorted(files)


def _inside(file: str) -> str:
    """Return the plain name of external data: `w.bin` for `./w.bin`."""
    parts = PurePosixPath(file).parts
    if not parts or ".." in parts or file.startswith("/") or "\\" in file or "\0" in file:
        raise _unsafe(f"its external data {file!r} does not lie beside it")
    if any(len(part.encode()) > _MAX_NAME_BYTES for part in parts):
        raise _unsafe(f"the name of its external data {file!r} is longer than 255 bytes")
    return str(PurePosixPath(file))


def _combined_digest(name: str, digests: dict[str, str]) -> str:
    if len(digests) == 1:
        return f"sha256:{digests[name]}"
    combined = hashlib.sha256()
    for file, digest in sorted(digests.items()):
        combined.update(f"{file}\0{digest}\n".encode())
    return f"sha256:{combined.hexdigest()}"


def _facts(path: Path, uri: str) -> GraphFacts:
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                raise NotOnnx("it is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return read_graph_facts(data)
    except NotOnnx as error:
        raise InvalidJob(
            Reason.MODEL_UNSUPPORTED,
            f"the file {uri!r} is not an ONNX model: {error}; export the model to ONNX",
        ) from error


def _require_safe(facts: GraphFacts) -> None:
    for domain, name in sorted(facts.operators):
        if name in _REFUSED_OPERATORS:
            raise _unsafe(f"operator {name!r} loads binaries compiled elsewhere")
        if domain not in _DOMAINS and (domain, name) not in facts.functions:
            raise _unsafe(f"operator {name!r} of domain {domain!r} needs a custom library")


def _scaled_by_batch(facts: GraphFacts) -> str | None:
    # A function of this name that the model defines itself may do anything.
    names = {name for _, name in facts.operators - facts.functions}
    by_name = {name for name in names if name.startswith(_SCALED_BY_BATCH)}
    return min(by_name or facts.computed_scales, default=None)


def _unsafe(why: str) -> InvalidJob:
    return InvalidJob(
        Reason.MODEL_UNSAFE,
        f"the model is not loaded: {why}. Models may use the domains ai.onnx, ai.onnx.ml and "
        "com.microsoft, and external data beside the .onnx file",
    )


class _Source:
    """The folder or prefix that a model lies in."""

    def model_name(self) -> str:
        raise NotImplementedError

    def blocks(self, name: str, *, limit: int) -> Iterator[bytes | memoryview]:
        raise NotImplementedError

    def copy(self, name: str, target: Path, *, limit: int) -> str:
        """Copy one file and return the sha256 of what was written."""
        digest = hashlib.sha256()
        with target.open("xb") as file:
            for block in self.blocks(name, limit=limit):
                digest.update(block)
                file.write(block)
        return digest.hexdigest()


class _FolderSource(_Source):
    """A local folder. Links may lead to another place inside it (mounted volumes do), not out."""

    def __init__(self, path: Path) -> None:
        with _reading(str(path)):
            if path.is_dir():
                self._root, self._name = path, None
            elif path.is_file():
                self._root, self._name = path.parent, path.name
            else:
                raise NotFound(str(path))

    def model_name(self) -> str:
        if self._name is not None:
            return self._name
        with _reading(str(self._root)):
            names = [path.name for path in self._root.iterdir() if path.is_file()]
        return _only_model(names)

    def blocks(self, name: str, *, limit: int) -> Iterator[bytes]:
        path = self._root / name
        with _reading(str(path)):
            if name != self._name and not path.resolve().is_relative_to(self._root.resolve()):
                raise _unsafe(f"file {name!r} is a link that leads out of its folder")
            if not path.is_file():
                raise NotFound(name)
            _require_size(name, path.stat().st_size, limit)
            with path.open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    yield block


class _StoreSource(_Source):
    """A prefix of an object store, or a web folder."""

    def __init__(self, location: Location) -> None:
        from batch_inference_runner.storage.location import open_parent, open_store

        parent, name = open_parent(location, literal=True)
        self._store: Store = parent
        self._name: str | None = name or None
        self._infos: dict[str, ObjectInfo] = {}
        if not name:
            return
        try:
            self._infos[name] = parent.info(name)
        except NotFound:
            if location.uri.startswith("https:"):
                raise
            self._store, self._name = open_store(location), None

    def model_name(self) -> str:
        if self._name is not None:
            return self._name
        self._infos = {info.key: info for info in self._store.list()}
        return _only_model(key for key in self._infos if "/" not in key)

    def blocks(self, name: str, *, limit: int) -> Iterator[memoryview]:
        info = self._infos.get(name) or self._store.info(name)
        _require_size(name, info.size, limit)
        source = self._store.open(name, size=info.size, version=info.version)
        try:
            for start in range(0, info.size, _BLOCK_BYTES):
                yield source.read_at(start, min(_BLOCK_BYTES, info.size - start))
        finally:
            source.close()


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise as_store_error(error, name) from error


def _source(location: Location) -> _Source:
    scheme, _, rest = location.uri.partition("://")
    if scheme == "file":
        return _FolderSource(Path(rest.removeprefix("localhost")))
    return _StoreSource(location)


def _only_model(names: Iterable[str]) -> str:
    models = sorted(name for name in names if name.endswith(".onnx"))
    if not models:
        raise NotFound("the folder holds no .onnx file")
    if len(models) > 1:
        raise InvalidJob(
            Reason.MODEL_NOT_FOUND,
            f"the model's folder holds {len(models)} .onnx files ({', '.join(models[:5])}); "
            "spec.model.storageUri must name one of them",
        )
    return models[0]


def _require_size(name: str, size: int, limit: int) -> None:
    if size > limit:
        raise _unsafe(f"file {name!r} has {size} bytes, more than {limit}")
