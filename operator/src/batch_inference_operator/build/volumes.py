"""Volumes of a run's pods: what the run needs itself, then what the job asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch_inference_operator.build.claims import find_claims
from batch_inference_operator.build.layout import RUN_FOLDER, credentials_folder
from batch_inference_operator.build.plain import as_plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batch_inference_api.v1alpha1.environment import Volume
    from batch_inference_api.v1alpha1.job import JobSpec

_SECRET_MODE = 0o440
"""For the pods' group, since files of a Secret belong to root."""
_SHARED_MEMORY_BYTES = 128 * 1024 * 1024
"""Ray's object store takes 80 MiB; rows never travel through it."""


@dataclass(frozen=True, slots=True)
class _Mounted:
    """A volume of the run's own and where it appears; `source` is None where the job has it."""

    name: str
    folder: str
    source: dict[str, Any] | None
    read_only: bool = True


def build_volumes(spec: JobSpec, *, secret_name: str, memory_bytes: int) -> list[dict[str, Any]]:
    """All volumes of a pod that may use `memory_bytes`; `secret_name` is the run's Secret."""
    own = _find_own(spec, secret_name=secret_name, memory_bytes=memory_bytes)
    return [
        *({"name": item.name, **item.source} for item in own if item.source is not None),
        *(_of_job(volume) for volume in spec.workers.volumes),
    ]


def build_volume_mounts(spec: JobSpec) -> list[dict[str, Any]]:
    """Where `build_volumes` appear in the container."""
    return [
        *(_mount(item) for item in _find_own(spec, secret_name="", memory_bytes=0)),
        *(as_plain(mount) for mount in spec.workers.volume_mounts),
    ]


def _mount(item: _Mounted) -> dict[str, Any]:
    mount: dict[str, Any] = {"name": item.name, "mountPath": item.folder}
    return mount | {"readOnly": True} if item.read_only else mount


def _of_job(volume: Volume) -> dict[str, Any]:
    plain = as_plain(volume)
    if volume.empty_dir is not None and volume.empty_dir.size_limit is not None:
        plain["emptyDir"]["sizeLimit"] = str(volume.empty_dir.size_limit)
    return plain


def _find_own(spec: JobSpec, *, secret_name: str, memory_bytes: int) -> Iterator[_Mounted]:
    yield _Mounted("bij-run", RUN_FOLDER, _secret(secret_name))
    yield _Mounted("bij-tmp", "/tmp", {"emptyDir": {}}, read_only=False)  # noqa: S108 - in the pod
    shared_memory_bytes = min(_SHARED_MEMORY_BYTES, memory_bytes // 4)
    yield _Mounted(
        "bij-shm",
        "/dev/shm",  # noqa: S108 - in the pod
        {"emptyDir": {"medium": "Memory", "sizeLimit": str(shared_memory_bytes)}},
        read_only=False,
    )
    for role, reference in (
        ("model", spec.model.secret_ref),
        ("input", spec.input.secret_ref),
        ("output", spec.output.secret_ref),
    ):
        if reference is not None:
            source = _secret(reference.name)
            yield _Mounted(f"bij-credentials-{role}", credentials_folder(role), source)
    yield from _find_claim_volumes(spec)


def _find_claim_volumes(spec: JobSpec) -> Iterator[_Mounted]:
    """Find the claims that `pvc://` URIs name.

    A claim that is only read is read-only as a volume too, so that many nodes can attach it, and
    the kubelet does not hand the files of somebody's dataset to the pods' group. One that the job
    has as a volume already is mounted from there: a kubelet may wait for ever for the second of two
    volumes of one claim.
    """
    theirs = {
        volume.persistent_volume_claim.claim_name: volume.name
        for volume in spec.workers.volumes
        if volume.persistent_volume_claim is not None
    }
    for number, claim in enumerate(find_claims(spec)):
        source: dict[str, Any] = {"claimName": claim.name}
        if not claim.is_written:
            source["readOnly"] = True
        yield _Mounted(
            theirs.get(claim.name, f"bij-claim-{number}"),
            claim.folder,
            None if claim.name in theirs else {"persistentVolumeClaim": source},
            read_only=not claim.is_written,
        )


def _secret(name: str) -> dict[str, Any]:
    return {"secret": {"secretName": name, "defaultMode": _SECRET_MODE}}
