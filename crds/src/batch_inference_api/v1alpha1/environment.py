"""spec.workers: variables and volumes that pods get beside what a run needs itself."""

import posixpath
import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from batch_inference_api.v1alpha1.names import ObjectName
from batch_inference_api.v1alpha1.quantity import Quantity, parse_quantity, too_few_bytes
from batch_inference_api.v1alpha1.resource import ResourceModel, Rule, matching

RESERVED_PREFIXES = ("BIJ_", "RAY_", "LD_", "PYTHON")
OWN_FOLDERS = (
    "/bin",
    "/dev",
    "/etc/bij",
    "/lib",
    "/lib64",
    "/opt/bij",
    "/proc",
    "/pvc",
    "/sbin",
    "/sys",
    "/tmp",  # noqa: S108 - the name of a folder in a pod
    "/usr",
    "/var/run",
)
"""Where programs lie, and where a run mounts credentials, `pvc://` claims and scratch space."""

_VARIABLE_PATTERN = "^[A-Za-z_][A-Za-z0-9_]*$"
_VOLUME_PATTERN = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_MOUNT_PATTERN = "^/[^:]+$"

VolumeName = Annotated[
    str,
    Field(min_length=1, max_length=58, json_schema_extra={"pattern": _VOLUME_PATTERN}),
    matching(_VOLUME_PATTERN, "must have lower-case letters, digits and '-'"),
]
Key = Annotated[str, Field(min_length=1, max_length=253)]
VariableName = Annotated[
    str,
    Field(max_length=256, json_schema_extra={"pattern": _VARIABLE_PATTERN}),
    matching(_VARIABLE_PATTERN, "must have letters, digits and '_', and not begin with a digit"),
]


class KeySelector(ResourceModel):
    """One key of a Secret or ConfigMap of the job's namespace."""

    name: ObjectName
    """Name of the Secret or ConfigMap."""
    key: Key
    """The key."""
    optional: bool | None = None
    """Whether the pod may start without it."""

    def find_problems(self) -> Iterator[tuple[str, str]]:
        is_file_name = re.fullmatch(r"[-._a-zA-Z0-9]+", self.key) and self.key != "."
        if not is_file_name or self.key.startswith(".."):
            yield (
                "key",
                "must have letters, digits, '-', '_' and '.', and not begin with '..' or be '.'",
            )


class EnvVarSource(ResourceModel):
    """Where the value of a variable comes from."""

    rules = (
        Rule(
            "has(self.secretKeyRef) != has(self.configMapKeyRef)",
            "set exactly one of secretKeyRef and configMapKeyRef",
            lambda self: (self.secret_key_ref is None) != (self.config_map_key_ref is None),
        ),
    )

    secret_key_ref: KeySelector | None = None
    """A key of a Secret."""
    config_map_key_ref: KeySelector | None = None
    """A key of a ConfigMap."""


class EnvVar(ResourceModel):
    """A variable of the runner's environment."""

    rules = (
        Rule(
            "!self.name.matches('^(BIJ_|RAY_|LD_|PYTHON)')",
            "variables that begin with BIJ_, RAY_, LD_ or PYTHON are the runner's own",
            lambda self: not self.name.startswith(RESERVED_PREFIXES),
            "name",
        ),
        Rule(
            "!(has(self.value) && has(self.valueFrom))",
            "set at most one of value and valueFrom",
            lambda self: self.value is None or self.value_from is None,
            "value",
        ),
    )

    name: VariableName
    """Name of the variable."""
    value: Annotated[str, Field(max_length=32_768)] | None = None
    """Its value. Never put a secret here: `valueFrom` takes it from a Secret."""
    value_from: EnvVarSource | None = None
    """Where the value comes from."""


class ObjectReference(ResourceModel):
    """A Secret or ConfigMap of the job's namespace."""

    name: ObjectName
    """Its name."""
    optional: bool | None = None
    """Whether the pod may start without it."""


class EnvFromSource(ResourceModel):
    """A Secret or ConfigMap, each key of which becomes a variable.

    Keep names that begin with BIJ_, RAY_, LD_ or PYTHON out of its keys: they are the runner's own,
    and only the prefix is checked.
    """

    rules = (
        Rule(
            "has(self.secretRef) != has(self.configMapRef)",
            "set exactly one of secretRef and configMapRef",
            lambda self: (self.secret_ref is None) != (self.config_map_ref is None),
        ),
    )

    prefix: VariableName | None = None
    """What the names of the variables begin with."""
    secret_ref: ObjectReference | None = None
    """A Secret."""
    config_map_ref: ObjectReference | None = None
    """A ConfigMap."""

    def find_problems(self) -> Iterator[tuple[str, str]]:
        prefix = self.prefix
        if prefix and any(_are_in_line(prefix, own) for own in RESERVED_PREFIXES):
            names = f"names that begin with {', '.join(RESERVED_PREFIXES)}"
            yield "prefix", f"must not lead to {names}: these are the runner's own"


def _are_in_line(one: str, other: str) -> bool:
    """Whether one of two texts begins with the other."""
    return one.startswith(other) or other.startswith(one)


class ClaimVolume(ResourceModel):
    """A PersistentVolumeClaim of the job's namespace."""

    claim_name: ObjectName
    """Its name."""
    read_only: bool | None = None
    """Whether it is mounted for reading only."""


class SecretVolume(ResourceModel):
    """A Secret of the job's namespace, one file per key."""

    secret_name: ObjectName
    """Its name."""
    optional: bool | None = None
    """Whether the pod may start without it."""


class ConfigMapVolume(ResourceModel):
    """A ConfigMap of the job's namespace, one file per key."""

    name: ObjectName
    """Its name."""
    optional: bool | None = None
    """Whether the pod may start without it."""


class EmptyDirVolume(ResourceModel):
    """An empty folder that lives as long as its pod."""

    size_limit: Quantity | None = None
    """Most bytes in it."""

    def find_problems(self) -> Iterator[tuple[str, str]]:
        limit = self.size_limit
        if limit is not None and parse_quantity(limit) and (problem := too_few_bytes(limit)):
            yield "sizeLimit", problem


_SOURCES = ("persistentVolumeClaim", "secret", "configMap", "emptyDir")


class Volume(ResourceModel):
    """A volume that `volumeMounts` can name."""

    rules = (
        Rule(
            f"[{', '.join(f'has(self.{source})' for source in _SOURCES)}]"
            ".filter(is_set, is_set).size() == 1",
            f"set exactly one of {', '.join(_SOURCES)}",
            lambda self: (
                sum(
                    source is not None
                    for source in (
                        self.persistent_volume_claim,
                        self.secret,
                        self.config_map,
                        self.empty_dir,
                    )
                )
                == 1
            ),
        ),
    )

    name: VolumeName
    """Name that `volumeMounts` refers to."""
    persistent_volume_claim: ClaimVolume | None = None
    """A PersistentVolumeClaim. One that a `pvc://` URI names needs no volume here."""
    secret: SecretVolume | None = None
    """A Secret. One that a `secretRef` names needs no volume here."""
    config_map: ConfigMapVolume | None = None
    """A ConfigMap."""
    empty_dir: EmptyDirVolume | None = None
    """An empty folder."""

    def find_problems(self) -> Iterator[tuple[str, str]]:
        if self.name.startswith("bij-"):
            yield "name", "names that begin with bij- are the run's own"


class VolumeMount(ResourceModel):
    """Where a volume appears in the pod."""

    name: VolumeName
    """Name of the volume."""
    mount_path: Annotated[
        str,
        Field(max_length=512, json_schema_extra={"pattern": _MOUNT_PATTERN}),
        matching(_MOUNT_PATTERN, "must be an absolute path without ':'"),
    ]
    """The folder: none that the runner uses itself, such as `/tmp` and `/usr`, and none above
    these, such as `/opt`."""
    sub_path: Annotated[str, Field(max_length=512)] | None = None
    """A folder of the volume to mount instead of its root."""
    read_only: bool | None = None
    """Whether it is mounted for reading only."""

    def find_problems(self) -> Iterator[tuple[str, str]]:
        path = self.mount_path.rstrip("/")
        if posixpath.normpath(self.mount_path) != path:
            yield "mountPath", "must be written without '//', '.' and '..'"
        if any(_are_in_line(f"{path}/", f"{own}/") for own in OWN_FOLDERS):
            folders = ", ".join(OWN_FOLDERS)
            yield "mountPath", f"must not be below or hide {folders}: a run uses these"
        if self.sub_path is not None and (
            self.sub_path.startswith("/") or ".." in self.sub_path.split("/")
        ):
            yield "subPath", "must be relative, without '..'"
