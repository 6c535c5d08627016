"""What the operator asks of a cluster, and how it can refuse. No client library in here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    Manifest = Mapping[str, Any]


class ClusterError(Exception):
    """The API server did not do what it was asked.

    ClusterError
        AlreadyExists   an object of that name is there
        NotFound        there is no such object (any more)
        Conflict        the object changed since it was read, or is another one of that name
        Forbidden       policy: rights, quota, Pod Security, admission, a terminating namespace
        Invalid         the object breaks the server's schema
        Unadmitted      a webhook that has to admit it gave no answer
        Unreachable     no answer, a 5xx, or told to slow down: worth trying again
    """

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class AlreadyExists(ClusterError):
    """An object of that name is there."""


class NotFound(ClusterError):
    """There is no such object."""


class Conflict(ClusterError):
    """The object changed since it was read, or is another one of that name."""


class Forbidden(ClusterError):
    """Rights, quota, admission or a terminating namespace forbid it, in the server's own words."""


class Invalid(ClusterError):
    """The object breaks the server's schema."""


class Unadmitted(ClusterError):
    """A webhook that has to admit it gave no answer, in the server's own words.

    The server answers 500 then, but is well: it may go on for as long as the webhook is away.
    """


class Unreachable(ClusterError):
    """No answer, or one that says to come back."""


class Cluster(Protocol):
    """The calls of the operator. Manifests are plain dicts as in YAML.

    All raise ClusterError. A namespace of None lists the whole cluster.
    """

    async def create(self, manifest: Manifest) -> dict[str, Any]:
        """Create an object and return it."""
        ...

    async def get(self, kind: str, name: str, *, namespace: str) -> dict[str, Any]:
        """Read one object: kind is `BatchInferenceJob`, `Job` or `Lease`."""
        ...

    async def list(
        self, kind: str, *, namespace: str | None, labels: str = "", fields: str = ""
    ) -> tuple[dict[str, Any], ...]:
        """List the objects of a kind: `BatchInferenceJob`, `Job`, `Pod` or `Event`."""
        ...

    async def delete_job(self, name: str, *, namespace: str, uid: str) -> None:
        """Delete a batch/v1 Job, its children in the background, if it is still that very one."""
        ...

    async def scale_job(self, name: str, *, namespace: str, uid: str, workers: int) -> None:
        """Set parallelism and completions of a Job, and the annotation that says so, at once."""
        ...

    async def replace_status(
        self, name: str, *, namespace: str, resource_version: str, status: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Write the whole status of a BatchInferenceJob unless it changed since that version."""
        ...

    async def replace_lease(self, manifest: Manifest) -> dict[str, Any]:
        """Replace a Lease unless it changed since the resource version that it carries."""
        ...
