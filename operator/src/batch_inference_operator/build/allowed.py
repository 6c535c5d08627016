"""What a job asks for and will not get in this cluster, found before anything is created."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from batch_inference_api.reasons import Reason
from batch_inference_api.v1alpha1.uri import scheme_of
from batch_inference_operator.build.runner_config import build_runner_config
from batch_inference_operator.observation import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batch_inference_api.v1alpha1.job import BatchInferenceJob, JobSpec
    from batch_inference_api.v1alpha1.workers import WorkersSpec
    from batch_inference_operator.settings import Settings

_DEFAULT_SERVICE_ACCOUNT = "default"
"""What pods run as in any case."""
_LARGEST_CONFIG_BYTES = 1024 * 1024 - 4096
"""A Secret holds 1 MiB, of which the token takes a little."""


def find_forbidden(job: BatchInferenceJob, settings: Settings) -> tuple[Refusal, ...]:
    """Everything that the job would have to change, or get allowed by the platform team.

    One refusal for each field. Messages say what would do, and never quote a URI: it may hold a
    secret.
    """
    return (
        *_find_schemes(job.spec, settings.allowed_uri_schemes),
        *_find_passing_output(job.spec),
        *_find_image(job.spec.workers, settings),
        *_find_service_account(job.spec.workers, settings.allowed_service_accounts),
        *_find_size(job, settings),
    )


def _find_schemes(spec: JobSpec, allowed: tuple[str, ...]) -> Iterator[Refusal]:
    for field, uri in _uris(spec):
        scheme = scheme_of(uri)
        if scheme is None:
            message = f"{field}: must be a URI; plain paths work with `bij run` only"
            yield Refusal(reason=Reason.INVALID_SPEC, message=message)
        elif scheme not in allowed:
            yield _not_allowed(
                field,
                f"the scheme {scheme!r}",
                instead=allowed,
                setting="allowed-uri-schemes",
                value="allowed.uriSchemes",
            )


def _find_passing_output(spec: JobSpec) -> Iterator[Refusal]:
    """A result beside all volumes would be complete, and go with the pod.

    One on an emptyDir does so, too; but whoever mounts that has said so.
    """
    uri = spec.output.storage_uri
    if scheme_of(uri) != "file":
        return
    mounted = [mount.mount_path.rstrip("/") + "/" for mount in spec.workers.volume_mounts]
    folder = unquote(uri.removeprefix("file://")).rstrip("/") + "/"
    if not folder.startswith(tuple(mounted)):
        message = (
            "spec.output.storageUri: a result in a pod's own files goes with the pod; write to "
            "pvc://claim/folder, or below the mountPath of a volume"
        )
        yield Refusal(reason=Reason.INVALID_SPEC, message=message)


def _uris(spec: JobSpec) -> Iterator[tuple[str, str]]:
    yield "spec.model.storageUri", spec.model.storage_uri
    for number, uri in enumerate(spec.input.storage_uris):
        yield f"spec.input.storageUris[{number}]", uri
    yield "spec.output.storageUri", spec.output.storage_uri


def _find_image(workers: WorkersSpec, settings: Settings) -> Iterator[Refusal]:
    image = workers.image
    if image in (None, settings.runner_image) or _matches(image, settings.allowed_images):
        return
    yield _not_allowed(
        "spec.workers.image",
        f"the image {image!r}",
        instead=settings.allowed_images,
        setting="allowed-images",
        value="allowed.images",
    )


def _find_service_account(workers: WorkersSpec, allowed: tuple[str, ...]) -> Iterator[Refusal]:
    name = workers.service_account_name
    if name in (None, _DEFAULT_SERVICE_ACCOUNT) or _matches(name, allowed):
        return
    yield _not_allowed(
        "spec.workers.serviceAccountName",
        f"the ServiceAccount {name!r}",
        instead=(_DEFAULT_SERVICE_ACCOUNT, *allowed),
        setting="allowed-service-accounts",
        value="allowed.serviceAccounts",
    )


def _find_size(job: BatchInferenceJob, settings: Settings) -> Iterator[Refusal]:
    """A Job whose Secret is then refused would wait for ever, so this is found before."""
    config = build_runner_config(job, number=1, deadline_seconds=None, settings=settings)
    size_bytes = len(config.model_dump_json().encode())
    if size_bytes > _LARGEST_CONFIG_BYTES:
        message = (
            f"spec: is too large for the Secret through which pods are told of it ({size_bytes:,} "
            f"of {_LARGEST_CONFIG_BYTES:,} bytes); list fewer columns, or folders instead of files"
        )
        yield Refusal(reason=Reason.INVALID_SPEC, message=message)


def _matches(value: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns, in which `*` stands for any characters, is the whole value."""
    return any(
        re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), value) for pattern in patterns
    )


def _not_allowed(
    field: str, what: str, *, instead: tuple[str, ...], setting: str, value: str
) -> Refusal:
    """Refuse what the operator's `setting` does not list; `value` is its key in the chart."""
    choice = f"use one of {', '.join(instead)}" if instead else "leave the field out"
    return Refusal(
        reason=Reason.NOT_ALLOWED,
        message=f"{field}: {what} is not allowed here; {choice}, or ask the platform team to add "
        f"it to the operator's setting --{setting} ({value} in the chart's values)",
    )
