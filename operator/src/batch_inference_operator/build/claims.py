"""`pvc://` URIs: which claims a run mounts, and where in its pods they lie."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch_inference_api.v1alpha1.uri import scheme_of
from batch_inference_operator.build.layout import CLAIMS_FOLDER

if TYPE_CHECKING:
    from batch_inference_api.v1alpha1.job import JobSpec

_PREFIX = "pvc://"


@dataclass(frozen=True, slots=True)
class Claim:
    """A PersistentVolumeClaim that URIs of the job name."""

    name: str
    is_written: bool

    @property
    def folder(self) -> str:
        """Where it is mounted."""
        return f"{CLAIMS_FOLDER}/{self.name}"


def find_claims(spec: JobSpec) -> tuple[Claim, ...]:
    """Claims that the job reads or writes, each once, by name; written if the output lies there."""
    read = {_name(uri) for uri in (spec.model.storage_uri, *spec.input.storage_uris)}
    written = {_name(spec.output.storage_uri)}
    names = sorted(name for name in read | written if name is not None)
    return tuple(Claim(name, name in written) for name in names)


def locate(uri: str) -> str:
    """The URI as a runner opens it: a claim's is that of its folder, every other one stays."""
    name = _name(uri)
    if name is None:
        return uri
    inside = uri.removeprefix(_PREFIX).partition("/")[2]
    slash = "/" if not inside or inside.endswith("/") else ""
    return f"file://{posixpath.normpath(f'{CLAIMS_FOLDER}/{name}/{inside}')}{slash}"


def with_claims(text: str) -> str:
    """A URI, or a message that names some, as the job's author wrote them: `locate` reversed."""
    return text.replace(f"file://{CLAIMS_FOLDER}/", _PREFIX)


def _name(uri: str) -> str | None:
    if scheme_of(uri) != "pvc":
        return None
    return uri.removeprefix(_PREFIX).partition("/")[0]
