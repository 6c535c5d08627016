"""`_SUCCESS`: what an output consists of. Written last; without it there is no result.

Files are listed with rows, bytes and sha256, so that a reader needs no listing and `bij verify`
can check every byte.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from batch_inference_api.camel_case import to_camel
from batch_inference_api.reasons import Reason
from batch_inference_runner.commit.layout import SUCCESS, work_of
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.storage.keys import check_key
from batch_inference_runner.storage.store import NotFound

if TYPE_CHECKING:
    from batch_inference_runner.storage.store import Store

MANIFEST_VERSION = 1
_Value = TypeVar("_Value")


class NotAManifest(JobFailed):
    """A `_SUCCESS` that no release of this runner has written, or that is damaged."""


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One published file; `path` is relative to the output location."""

    path: str
    rows: int
    bytes: int
    sha256: str
    shard: int


@dataclass(frozen=True, slots=True)
class RowTotals:
    """read = written + rejected + filtered."""

    read: int = 0
    written: int = 0
    rejected: int = 0
    filtered: int = 0

    def __add__(self, other: RowTotals) -> RowTotals:
        return RowTotals(
            self.read + other.read,
            self.written + other.written,
            self.rejected + other.rejected,
            self.filtered + other.filtered,
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of `_SUCCESS`.

    `plans` are the hashes of all plans whose rows are listed: more than one after an Append.
    `inputs`, `details` and `run` are those of the last of them, `plan_counts` what `counts` is the
    sum of. `replaced` are keys that an Overwrite has still to delete, or has deleted; `earlier`
    names the generations before this one.
    """

    job: dict[str, Any]
    plan_hash: str
    plans: tuple[str, ...]
    generation: int
    mode: str
    format: str
    files: tuple[ManifestFile, ...]
    rejects: tuple[ManifestFile, ...]
    counts: RowTotals
    inputs: tuple[dict[str, Any], ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    runtimes: tuple[dict[str, str], ...] = ()
    run: dict[str, Any] = field(default_factory=dict)
    replaced: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()
    plan_counts: dict[str, RowTotals] = field(default_factory=dict)
    """By hash; without the plans of releases that counted them all as one."""

    @property
    def work(self) -> str:
        """Names this generation of the plan in keys."""
        return work_of(self.plan_hash, self.generation)

    @property
    def paths(self) -> frozenset[str]:
        """Keys of everything that is listed, rejects included."""
        return frozenset(file.path for file in (*self.files, *self.rejects))

    def counts_of(self, plan_hash: str) -> RowTotals:
        """Return the rows of one of `plans`; of all of them if it was not counted by itself."""
        return self.plan_counts.get(plan_hash, self.counts)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, camelCase."""
        document = {to_camel(name): value for name, value in asdict(self).items()}
        return {"version": MANIFEST_VERSION, **document}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Manifest:
        """Read what `to_json` gave. Raises KeyError, TypeError or ValueError for anything else."""
        return cls(
            job=_one(dict, document["job"]),
            plan_hash=_one(str, document["planHash"]),
            plans=_each(str, document["plans"]),
            generation=_one(int, document["generation"]),
            mode=_one(str, document["mode"]),
            format=_one(str, document["format"]),
            files=tuple(map(_file, _each(dict, document["files"]))),
            rejects=tuple(map(_file, _each(dict, document["rejects"]))),
            counts=_counts(_one(dict, document["counts"])),
            inputs=_each(dict, document["inputs"]),
            details=_details(_one(dict, document["details"])),
            runtimes=_each(dict, document["runtimes"]),
            run=_one(dict, document["run"]),
            replaced=tuple(map(_key, _each(str, document["replaced"]))),
            earlier=_each(str, document["earlier"]),
            plan_counts={
                plan: _counts(_one(dict, counts))
                for plan, counts in _one(dict, document.get("planCounts", {})).items()
            },
        )


def _file(document: dict[str, Any]) -> ManifestFile:
    file = ManifestFile(**document)
    _key(_one(str, file.path))
    _one(str, file.sha256)
    _each(int, [file.rows, file.bytes, file.shard])
    return file


def _counts(document: dict[str, Any]) -> RowTotals:
    counts = RowTotals(**document)
    _each(int, [counts.read, counts.written, counts.rejected, counts.filtered])
    return counts


def _details(document: dict[str, Any]) -> dict[str, Any]:
    """Give them back if what an Append compares is what it must be; the rest is for people."""
    _each(str, document.get("outputColumns", []))
    return document


def _key(text: str) -> str:
    text.encode()  # no store can name a half of a surrogate pair
    check_key(text)
    return text


def _each(kind: type[_Value], values: Any) -> tuple[_Value, ...]:
    return tuple(_one(kind, value) for value in _one(list, values))


def _one(kind: type[_Value], value: Any) -> _Value:
    """Give the value back if it is of this type; to JSON `true` is no number. None is negative."""
    if type(value) is not kind or (isinstance(value, int) and value < 0):
        raise TypeError(f"{value!r} is not a {kind.__name__} of a manifest")
    return value


def read_manifest(store: Store) -> tuple[Manifest, str] | None:
    """Return the manifest and its version, None if there is no `_SUCCESS`.

    Raises JobFailed(VersionSkew) for one that this release cannot read, NotAManifest among it.
    """
    try:
        body, version = store.get_with_version(SUCCESS)
    except NotFound:
        return None
    return parse_manifest(store, body), version


def parse_manifest(store: Store, body: bytes) -> Manifest:
    """Read the bytes of a `_SUCCESS`. Raises JobFailed(VersionSkew), NotAManifest among it."""
    kind: type[JobFailed] = JobFailed
    try:
        document = json.loads(body)
        if document["version"] == MANIFEST_VERSION:
            return Manifest.from_json(document)
        problem = f"has version {document['version']!r}, this release reads {MANIFEST_VERSION}"
    except (ValueError, KeyError, TypeError, RecursionError):
        kind, problem = NotAManifest, "is damaged, or not a manifest of this runner"
    raise kind(
        Reason.VERSION_SKEW,
        f"{store.uri + SUCCESS!r} {problem}: use the release that wrote it, or another output "
        f"location",
    )


def body_of(manifest: Manifest) -> bytes:
    """Return the bytes that are stored."""
    return json.dumps(manifest.to_json(), separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )
