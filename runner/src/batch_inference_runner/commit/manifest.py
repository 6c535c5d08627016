"""`_SUCCESS`: what an output consists of. Written last; without it there is no result.

Files are listed with rows, bytes and sha256, so that a reader needs no listing and `bij verify`
can check every byte.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from batch_inference_api.reasons import Reason
from batch_inference_runner.commit.layout import SUCCESS, work_of
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.storage.store import NotFound

if TYPE_CHECKING:
    from batch_inference_runner.storage.store import Store

MANIFEST_VERSION = 1


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
    `inputs`, `details` and `run` are those of the last of them. `replaced` are keys that an
    Overwrite has still to delete, or has deleted; `earlier` names the generations before this one.
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

    @property
    def work(self) -> str:
        """Names this generation of the plan in keys."""
        return work_of(self.plan_hash, self.generation)

    @property
    def paths(self) -> frozenset[str]:
        """Keys of everything that is listed, rejects included."""
        return frozenset(file.path for file in (*self.files, *self.rejects))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, camelCase."""
        document = {_camel(name): value for name, value in asdict(self).items()}
        return {"version": MANIFEST_VERSION, **document}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Manifest:
        """Read what `to_json` gave. Raises KeyError or TypeError for anything else."""
        return cls(
            job=document["job"],
            plan_hash=document["planHash"],
            plans=tuple(document["plans"]),
            generation=document["generation"],
            mode=document["mode"],
            format=document["format"],
            files=tuple(ManifestFile(**file) for file in document["files"]),
            rejects=tuple(ManifestFile(**file) for file in document["rejects"]),
            counts=RowTotals(**document["counts"]),
            inputs=tuple(document["inputs"]),
            details=document["details"],
            runtimes=tuple(document["runtimes"]),
            run=document["run"],
            replaced=tuple(document["replaced"]),
            earlier=tuple(document["earlier"]),
        )


def read_manifest(store: Store) -> tuple[Manifest, str] | None:
    """Return the manifest and its version, None if there is no `_SUCCESS`.

    Raises JobFailed(VersionSkew) for one that this release cannot read.
    """
    try:
        body, version = store.get_with_version(SUCCESS)
    except NotFound:
        return None
    return parse_manifest(store, body), version


def parse_manifest(store: Store, body: bytes) -> Manifest:
    """Read the bytes of a `_SUCCESS`. Raises JobFailed(VersionSkew)."""
    try:
        document = json.loads(body)
        if document["version"] == MANIFEST_VERSION:
            return Manifest.from_json(document)
        problem = f"has version {document['version']!r}, this release reads {MANIFEST_VERSION}"
    except (ValueError, KeyError, TypeError):
        problem = "is not a manifest of this runner"
    raise JobFailed(
        Reason.VERSION_SKEW,
        f"{store.uri + SUCCESS!r} {problem}: use the release that wrote it, or another output "
        f"location",
    )


def body_of(manifest: Manifest) -> bytes:
    """Return the bytes that are stored."""
    return json.dumps(manifest.to_json(), separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
