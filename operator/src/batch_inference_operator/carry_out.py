"""A plan -> API calls. Actions in their order, then the status, then the events that tell of it.

Every call may be repeated, and may race with another operator: names follow from the job's UID and
the run, deletions and patches name the very object that they are about.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any, assert_never

from batch_inference_api.reasons import Reason
from batch_inference_api.redaction import redact
from batch_inference_api.v1alpha1.job import GROUP, KIND, VERSION
from batch_inference_operator.build.companions import build_companions
from batch_inference_operator.build.job import build_job
from batch_inference_operator.cluster.api import (
    AlreadyExists,
    ClusterError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Unadmitted,
)
from batch_inference_operator.decide.plan import (
    CreateCompanions,
    CreateRun,
    DeleteRun,
    ScaleRun,
)
from batch_inference_operator.decide.record import format_time
from batch_inference_operator.names import EVENT_COMPONENT
from batch_inference_operator.observation import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from batch_inference_api.v1alpha1.status import JobStatus
    from batch_inference_operator.cluster.api import Cluster
    from batch_inference_operator.decide.plan import Action, Announcement
    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.settings import Settings

_logger = logging.getLogger(__name__)

_REASONS = {
    Forbidden: Reason.POD_FORBIDDEN,
    Invalid: Reason.INVALID_SPEC,
    Unadmitted: Reason.ADMISSION_UNAVAILABLE,
}
_REFUSED = tuple(_REASONS)


class Refused(Exception):
    """The API server will not have an object of the run, for a reason that users should read."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


async def carry_out(
    actions: tuple[Action, ...],
    record: Record,
    *,
    cluster: Cluster,
    settings: Settings,
    make_token: Callable[[], str],
) -> None:
    """Do what a plan says, in its order.

    Raises:
        Refused: an object may not be created.
        ClusterError: worth trying again.
    """
    for action in actions:
        _logger.info(
            "carrying out",
            extra={
                "job": str(record.key),
                "action": type(action).__name__,
                "run": action.number if isinstance(action, CreateRun) else action.job_name,
            },
        )
        match action:
            case CreateRun():
                await _create_run(action, record, cluster=cluster, settings=settings)
            case CreateCompanions():
                await _create_companions(
                    action, record, cluster=cluster, settings=settings, token=make_token()
                )
            case DeleteRun():
                await _delete_run(action, record, cluster=cluster)
            case ScaleRun():
                await _scale_run(action, record, cluster=cluster)
            case _:
                assert_never(action)


async def write_status(record: Record, status: JobStatus, *, cluster: Cluster) -> dict[str, Any]:
    """Write the whole status, unless the job changed since it was read; returns the new object.

    Raises:
        Conflict: it did; what should be written has to be decided anew.
    """
    return await cluster.replace_status(
        record.name,
        namespace=record.namespace,
        resource_version=record.resource_version,
        status=status_document(status),
    )


def status_document(status: JobStatus) -> dict[str, Any]:
    """The status as JSON values; what is not known is left out."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


async def announce(
    announcements: tuple[Announcement, ...], record: Record, *, cluster: Cluster, now: datetime
) -> None:
    """Tell of a status that was written. An event that cannot be written fails nothing."""
    for announcement in announcements:
        try:
            await cluster.create(_event(announcement, record, now=now))
        except AlreadyExists:
            continue
        except ClusterError as error:
            _logger.warning(
                "event not written", extra={"reason": announcement.reason, "error": str(error)}
            )


async def _create_run(
    action: CreateRun, record: Record, *, cluster: Cluster, settings: Settings
) -> None:
    manifest = build_job(
        record.readable_job,
        number=action.number,
        deadline_seconds=action.deadline_seconds,
        settings=settings,
    )
    name = manifest["metadata"]["name"]
    try:
        await cluster.create(manifest)
    except AlreadyExists:
        existing = await cluster.get("Job", name, namespace=record.namespace)
        owners = existing["metadata"].get("ownerReferences") or ()
        if not any(owner["uid"] == record.uid for owner in owners):
            message = (
                f"Job {name!r}, as the run would be named, exists and belongs to somebody else: "
                "delete it, and the run begins; or delete this job and apply it again, and its "
                "runs have other names"
            )
            raise Refused(Refusal(reason=Reason.NAME_TAKEN, message=message)) from None
    except _REFUSED as error:
        raise Refused(_explain(error)) from error


async def _create_companions(
    action: CreateCompanions,
    record: Record,
    *,
    cluster: Cluster,
    settings: Settings,
    token: str,
) -> None:
    """Create what is not there. What is there was made for the same run, and stays unread."""
    manifests = build_companions(
        record.readable_job,
        number=action.number,
        owner_name=action.job_name,
        owner_uid=action.job_uid,
        deadline_seconds=action.deadline_seconds,
        token=token,
        settings=settings,
    )
    for manifest in manifests:
        try:
            await cluster.create(manifest)
        except AlreadyExists:
            continue
        except _REFUSED as error:
            raise Refused(_explain(error)) from error


async def _delete_run(action: DeleteRun, record: Record, *, cluster: Cluster) -> None:
    try:
        await cluster.delete_job(action.job_name, namespace=record.namespace, uid=action.job_uid)
    except (NotFound, Conflict):
        return  # it is gone, or that name is another Job's by now


async def _scale_run(action: ScaleRun, record: Record, *, cluster: Cluster) -> None:
    try:
        await cluster.scale_job(
            action.job_name,
            namespace=record.namespace,
            uid=action.job_uid,
            workers=action.workers,
        )
    except NotFound:
        return  # the next look finds out what became of it
    except _REFUSED as error:  # a queue may hold a Job to its size
        raise Refused(_explain(error)) from error


def _explain(error: ClusterError) -> Refusal:
    message = str(error)
    if "exceeded quota" in message:
        return Refusal(reason=Reason.QUOTA_EXCEEDED, message=message)
    return Refusal(reason=_REASONS[type(error)], message=message)


def _event(announcement: Announcement, record: Record, *, now: datetime) -> dict[str, Any]:
    """Build an event whose name follows from what it says: said again, it exists already."""
    run, message = record.run_number, redact(announcement.message)
    said = f"{record.uid}/{run}/{announcement.reason}/{message}"
    moment = format_time(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{record.name}.{hashlib.sha256(said.encode()).hexdigest()[:16]}",
            "namespace": record.namespace,
        },
        "involvedObject": {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "name": record.name,
            "namespace": record.namespace,
            "uid": record.uid,
        },
        "type": "Warning" if announcement.is_warning else "Normal",
        "reason": announcement.reason,
        "message": message[:1024],
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
        "source": {"component": EVENT_COMPONENT},
    }
