"""What a platform team can set: environment variables that begin with `BIO_`, or flags.

Every value is checked before anything is watched.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from batch_inference_api.v1alpha1.quantity import LEAST_MEMORY, Quantity, too_few_bytes
from batch_inference_api.v1alpha1.uri import SCHEMES

_LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"


def _matching(pattern: str, expectation: str) -> AfterValidator:
    """Make the check that a text is of that form; if not, the text and what to write are said."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(f"{text!r}: {expectation}")
        return text

    return AfterValidator(check)


Seconds = Annotated[int, Field(ge=1, le=86_400)]
Words = Annotated[tuple[str, ...], NoDecode]
"""Words separated by commas."""
Namespace = Annotated[
    str,
    _matching(
        _LABEL,
        "write a namespace's own name, with lower-case letters, digits and '-'; patterns do not "
        "work here",
    ),
]
Namespaces = Annotated[tuple[Namespace, ...], NoDecode]
ObjectName = Annotated[
    str,
    Field(max_length=253),
    _matching(rf"{_LABEL}(\.{_LABEL})*", "write a name with lower-case letters, digits and '-'"),
]
ObjectNames = Annotated[tuple[ObjectName, ...], NoDecode]
Image = Annotated[str, _matching(r"\S+", "write an image such as registry.example.com/runner:1.0")]


class Settings(BaseSettings):
    """The settings; each is an environment variable `BIO_<NAME>` and a flag `--<name>`."""

    model_config = SettingsConfigDict(
        env_prefix="BIO_",
        frozen=True,
        extra="forbid",
        cli_kebab_case=True,
        cli_prog_name="batch-inference-operator",
        cli_hide_none_type=True,
        cli_implicit_flags=True,
        use_attribute_docstrings=True,
    )

    namespace: Namespace = "batch-inference"
    """Namespace of the operator itself, where its Lease lies."""
    pod_name: str = "batch-inference-operator"
    """Identity of this operator among its replicas."""
    watch_namespaces: Namespaces = ()
    """Namespaces whose jobs are run, separated by commas; none: those of the whole cluster."""

    runner_image: Image = "batch-inference-runner:latest"
    """Image of the runner's pods."""
    runner_image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When the image of the runner is pulled."""
    runner_image_pull_secrets: ObjectNames = ()
    """Secrets of each job's namespace with which the image of its pods is pulled, separated by
    commas, beside those of `spec.workers.imagePullSecrets`."""
    allowed_images: Words = ()
    """Images that `spec.workers.image` may name, with `*` for any characters; none: no other image
    than the runner's own."""
    allowed_service_accounts: Words = ()
    """ServiceAccounts that `spec.workers.serviceAccountName` may name, with `*` for any characters;
    none: only `default`."""
    allowed_uri_schemes: Words = ("file", "s3", "gs", "az", "pvc")
    """Schemes that URIs of a job may have. `https` is left out: a job could reach whatever the
    network lets its pods reach."""
    default_cpu: Quantity = "1"
    """CPU that pods request when a job names none."""
    default_memory: Quantity = "2Gi"
    """Memory that pods request, and may use, when a job names none."""

    lease_name: ObjectName = "batch-inference-operator"
    """Name of the Lease by which one of several replicas is chosen."""
    leader_election: bool = True
    """Whether replicas choose a leader. Two operators at work at once do no harm; it saves work."""
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 20
    """How many jobs are reconciled in parallel."""
    resync_seconds: Seconds = 300
    """How often everything is listed and reconciled anew, whatever was or was not watched."""
    progress_seconds: Seconds = 5
    """How often a running job's progress is asked for and written; changes of its pods, and its
    first minute, are further occasions to ask."""
    fence_seconds: Seconds = 120
    """How long a pod that cannot be confirmed dead holds back the next run; afterwards the commit
    protocol alone keeps it from doing harm."""
    sync_deadline_seconds: Seconds = 600
    """The liveness probe fails when nothing could be listed for this time, or for two resyncs if
    those take longer."""
    pre_running_deadline_seconds: Annotated[int, Field(ge=0)] = 0
    """`spec.preRunningDeadlineSeconds` of jobs that name none; 0: none."""
    progress_deadline_seconds: Annotated[int, Field(ge=0)] = 0
    """`spec.progressDeadlineSeconds` of jobs that name none; 0: none."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=-1)] = -1
    """`spec.ttlSecondsAfterFinished` of jobs that name none; -1: pods are kept."""
    network_policies: bool = True
    """Whether each run gets a NetworkPolicy that lets in only its own pods and the operator."""
    monitoring_namespaces: Namespaces = ()
    """Namespaces whose pods may read `/metrics` of running pods."""

    health_port: Annotated[int, Field(ge=0, le=65_535)] = 8081
    """Port of `/livez`, `/readyz` and `/metrics`; 0 takes a free one."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe messages that are logged."""

    @field_validator(
        "watch_namespaces", "allowed_images", "allowed_service_accounts", "allowed_uri_schemes",
        "monitoring_namespaces", "runner_image_pull_secrets", mode="before",
    )  # fmt: skip
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(word.strip() for word in value.split(",") if word.strip())
        return value

    @field_validator("allowed_uri_schemes")
    @classmethod
    def _know_schemes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(value) - set(SCHEMES))
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: there are {', '.join(SCHEMES)}")
        if not value:
            raise ValueError(f"name at least one of {', '.join(SCHEMES)}, or no job can run")
        return value

    @field_validator("default_memory")
    @classmethod
    def _be_enough(cls, value: str | int) -> str | int:
        if problem := too_few_bytes(value, LEAST_MEMORY):
            raise ValueError(problem)
        return value
