"""A manifest file -> the RunnerConfig of a run on this machine.

The same file serves a cluster: `pvc://` and Secrets are mapped to folders, plain paths count from
the folder of the manifest, and what only a cluster can give is listed as without effect.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from batch_inference_api.problems import InvalidManifest, Problem, parse_job
from batch_inference_api.reasons import Reason
from batch_inference_api.resolve import resolve
from batch_inference_api.v1alpha1.job import GROUP, KIND, VERSION
from batch_inference_api.v1alpha1.uri import check_target
from batch_inference_runner.cli.manifest_overrides import OverrideProblem, apply_override
from batch_inference_runner.cli.manifest_yaml import (
    MAX_BYTES,
    Document,
    YamlProblem,
    read_documents,
)
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.storage.wildcards import escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batch_inference_api.runner_contract import RunnerConfig

_CLUSTER_ONLY = (
    ("suspend",),
    ("managedBy",),
    ("backoffLimit",),
    ("preRunningDeadlineSeconds",),
    ("progressDeadlineSeconds",),
    ("ttlSecondsAfterFinished",),
    ("workers", "replicas"),
    ("workers", "nodeSelector"),
    ("workers", "tolerations"),
    ("workers", "affinity"),
    ("workers", "priorityClassName"),
    ("workers", "runtimeClassName"),
    ("workers", "schedulerName"),
    ("workers", "serviceAccountName"),
    ("workers", "image"),
    ("workers", "imagePullSecrets"),
    ("workers", "env"),
    ("workers", "envFrom"),
    ("workers", "volumes"),
    ("workers", "volumeMounts"),
)
"""Fields of the spec that nothing on one machine could obey."""


class LoadedManifest(NamedTuple):
    """A manifest that is valid, with every default filled and every location absolute."""

    config: RunnerConfig
    without_effect: tuple[str, ...]
    """Fields that the manifest sets and that only a cluster gives effect, as `spec.suspend`."""


def load(
    path: Path,
    *,
    overrides: Sequence[str] = (),
    volumes: Mapping[str, Path] | None = None,
    secrets: Mapping[str, Path] | None = None,
    output: str | None = None,
) -> LoadedManifest:
    """Read and check a manifest.

    `overrides` are `spec.x.y=value` in order; `volumes` maps claims of `pvc://claim/path`, and
    `secrets` names of Secrets, to folders; `output` replaces `spec.output.storageUri` and, as a
    plain path, counts from the current folder.

    Raises:
        InvalidJob: with one line for every problem, and what to change.
    """
    manifest, lines = _read(path)
    for override in overrides:
        try:
            manifest, changed = apply_override(manifest, override)
        except OverrideProblem as problem:
            raise _invalid(str(problem)) from problem
        lines = {key: line for key, line in lines.items() if key[: len(changed)] != changed}
    if output is not None:
        manifest = _with_output(manifest, output)
    manifest = _without_nulls(manifest)
    try:
        job = parse_job(manifest)
    except InvalidManifest as error:
        raise _invalid(_listing(path, error.problems, lines)) from error
    folder = path.absolute().parent
    claims = _Mapped("--volume", volumes or {})
    folders = _Mapped("--secret", secrets or {})
    config = resolve(
        job,
        resolve_uri=lambda role, uri: _local_uri(
            uri, folder=folder, volumes=claims, is_glob=role == "input"
        ),
        credentials_dir=lambda _role, name: _secret_folder(name, folders),
    )
    claims.refuse_unused()
    folders.refuse_unused()
    return LoadedManifest(config, tuple(_find_without_effect(manifest["spec"])))


class _Mapped:
    """Folders that the command line gives for names in the manifest, and which names were asked."""

    def __init__(self, option: str, folders: Mapping[str, Path]) -> None:
        self._option = option
        self._folders = folders
        self._asked: set[str] = set()

    def folder(self, name: str) -> Path | None:
        self._asked.add(name)
        return self._folders.get(name)

    def refuse_unused(self) -> None:
        """A misspelt name would otherwise fall back to the environment, unseen."""
        for name in sorted(self._folders.keys() - self._asked):
            names = ", ".join(map(repr, sorted(self._asked))) or "none"
            raise _invalid(
                f"{self._option} {name}={self._folders[name]}: the manifest does not name "
                f"{name!r}; it names {names}"
            )


def _read(path: Path) -> tuple[dict[str, Any], dict[tuple[str | int, ...], int]]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _invalid(f"{str(path)!r} cannot be read: {error.strerror}") from error
    try:
        documents = read_documents(text)
    except YamlProblem as problem:
        raise _invalid(f"{str(path)!r}, {problem}") from problem
    jobs = [document for document in documents if _is_job(document)]
    if len(jobs) != 1:
        found = ", ".join(_title(document) for document in documents) or "nothing"
        raise _invalid(f"{str(path)!r} must hold one {KIND}; found: {found}")
    return jobs[0].value, jobs[0].lines


def _is_job(document: Document) -> bool:
    value = document.value
    return (
        isinstance(value, dict)
        and value.get("kind") == KIND
        and str(value.get("apiVersion", f"{GROUP}/")).startswith(f"{GROUP}/")
    )


def _title(document: Document) -> str:
    """Kind and name of a document, as far as it has them, and what it lacks to be a job."""
    value = document.value
    if not isinstance(value, dict):
        return "a document that is not a mapping"
    kind = value.get("kind")
    if not isinstance(kind, str):
        return "a document without a kind"
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    title = kind if not isinstance(name, str) else f"{kind} {name!r}"
    if kind.lower() != KIND.lower() or _is_job(document):
        return title
    lacking = f"apiVersion: {GROUP}/{VERSION}" if kind == KIND else f"kind: {KIND}"
    return f"{title} (write {lacking})"


def _with_output(manifest: dict[str, Any], output: str) -> dict[str, Any]:
    try:
        check_target(output)
    except ValueError as error:
        raise _invalid(f"--output: {error}") from error
    if "://" not in output:
        output = _file_uri(Path.cwd(), output, is_glob=False)
    spec = manifest.get("spec")
    section = spec.get("output") if isinstance(spec, dict) else None
    if not isinstance(spec, dict) or not isinstance(section, dict | None):
        return manifest  # refused with the reason when the job is parsed
    return {**manifest, "spec": {**spec, "output": {**(section or {}), "storageUri": output}}}


def _without_nulls(value: Any) -> Any:
    """What a server makes of `field:` with nothing behind it: the field is not set."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _listing(
    path: Path, problems: Sequence[Problem], lines: Mapping[tuple[str | int, ...], int]
) -> str:
    described = [f"{str(path)!r} is not a valid {KIND}:"]
    for problem in problems:
        line = lines.get(problem.path)
        place = "" if line is None else f" (line {line})"
        described.append(f"  {problem.field}: {problem.message}{place}")
    return "\n".join(described)


def _local_uri(uri: str, *, folder: Path, volumes: _Mapped, is_glob: bool) -> str:
    """Make a URI absolute. Paths in `file://` URIs are as they are on disk, not percent-encoded."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return _file_uri(folder, uri, is_glob=is_glob)
    if scheme != "pvc":
        return uri
    claim, _, inside = rest.partition("/")
    volume = volumes.folder(claim)
    if volume is None:
        raise _invalid(
            f"the manifest reads or writes pvc://{claim}/: say which folder stands for the claim "
            f"with --volume {claim}=DIR"
        )
    return _file_uri(volume.absolute(), inside, is_glob=is_glob)


def _file_uri(folder: Path, inside: str, *, is_glob: bool) -> str:
    """Join without Path, which would drop a slash at the end.

    The folder must not become a part of the glob that is put behind it.
    """
    base = escape(str(folder)) if is_glob else str(folder)
    path = os.path.join(base, inside)  # noqa: PTH118
    slash = "/" if path.endswith("/") else ""
    return f"file://{os.path.normpath(path)}{slash}".replace("file:////", "file:///")


def _secret_folder(name: str, secrets: _Mapped) -> str | None:
    """The folder given for a Secret, or None for the environment's own credentials."""
    folder = secrets.folder(name)
    if folder is None:
        return None
    if not folder.is_dir():
        raise _invalid(f"--secret {name}={folder}: there is no such folder")
    return str(folder.absolute())


def _find_without_effect(spec: Mapping[str, Any]) -> Iterator[str]:
    for path in _CLUSTER_ONLY:
        value: Any = spec
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            yield ".".join(("spec", *path))


def _invalid(message: str) -> InvalidJob:
    return InvalidJob(Reason.INVALID_SPEC, message)
