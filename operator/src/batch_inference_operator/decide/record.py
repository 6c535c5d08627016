"""The job as it is stored: raw JSON comes in, typed values go out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import to_json

from batch_inference_api.problems import InvalidManifest, parse_job
from batch_inference_api.v1alpha1.job import MANAGER
from batch_inference_api.v1alpha1.status import JobStatus, Phase
from batch_inference_operator.keys import Key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch_inference_api.v1alpha1.job import BatchInferenceJob, JobSpec
    from batch_inference_api.v1alpha1.status import Condition
    from batch_inference_operator.observation import RunJob

_FINISHED = ("Complete", "Failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A BatchInferenceJob as the server holds it.

    `job` is None when this operator cannot read the spec; `problem` then says why, and
    `is_skewed` that only a CRD of another release lets it through. `suspend` can be told without.
    """

    namespace: str
    name: str
    uid: str
    resource_version: str
    generation: int
    being_deleted: bool
    managed_elsewhere: bool
    suspend: bool
    job: BatchInferenceJob | None
    problem: str
    is_skewed: bool
    status: JobStatus

    @property
    def key(self) -> Key:
        """By which the job is queued and looked up."""
        return Key(self.namespace, self.name)

    @property
    def readable_job(self) -> BatchInferenceJob:
        """The job; only asked for where its spec can be read."""
        assert self.job is not None
        return self.job

    @property
    def spec(self) -> JobSpec:
        """The spec of a job that can be read."""
        return self.readable_job.spec

    @property
    def is_left_alone(self) -> bool:
        """Whether nothing is to be done for it: it goes, or another controller has it."""
        return self.being_deleted or self.managed_elsewhere

    @property
    def is_finished(self) -> bool:
        """Whether the job has ended for good."""
        return self.end is not None

    @property
    def end(self) -> Condition | None:
        """The condition that says how the job ended for good."""
        return next(
            (
                condition
                for condition in self.status.conditions
                if condition.type in _FINISHED and condition.status == "True"
            ),
            None,
        )

    @property
    def run_number(self) -> int:
        """The latest run that the status knows; 0: none."""
        return (self.status.run.number if self.status.run else None) or 0

    def names(self, run: RunJob) -> bool:
        """Whether the status names this very Job, as it does once its pods have what they need.

        The CRD of an earlier release cuts the UID off: then the number has to do.
        """
        known = self.status.run
        if known is None or (known.number, known.job_name) != (run.number, run.name):
            return False
        return known.job_uid in (None, run.uid)

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type, if the status has it."""
        return next((found for found in self.status.conditions if found.type == kind), None)


def read_record(raw: Mapping[str, Any]) -> Record:
    """Read what the server sent. Never raises for what a user could have written."""
    metadata = raw["metadata"]
    job, problem, is_skewed = _read_job(raw)
    return Record(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        generation=metadata.get("generation", 0),
        being_deleted="deletionTimestamp" in metadata,
        managed_elsewhere=is_managed_elsewhere(raw),
        suspend=(raw.get("spec") or {}).get("suspend") is True,
        job=job,
        problem=problem,
        is_skewed=is_skewed,
        status=_read_status(raw.get("status") or {}),
    )


def is_managed_elsewhere(raw: Mapping[str, Any]) -> bool:
    """Whether the job is left to another controller."""
    return bool((raw.get("spec") or {}).get("managedBy", MANAGER) != MANAGER)


def _read_job(raw: Mapping[str, Any]) -> tuple[BatchInferenceJob | None, str, bool]:
    manifest = {key: raw.get(key) for key in ("apiVersion", "kind", "metadata", "spec")}
    try:
        return parse_job(manifest), "", False
    except InvalidManifest as error:
        return None, str(error), any(problem.breaks_schema for problem in error.problems)


def _read_status(raw: Mapping[str, Any]) -> JobStatus:
    """Read each field and condition by itself: one of another release costs no other."""
    status = JobStatus()
    for name, value in raw.items():
        if name == "conditions" and isinstance(value, list):
            read = [_read_field(name, [condition]) for condition in value]
            conditions = tuple(found for field in read if field for found in field.conditions)
            status = status.model_copy(update={"conditions": conditions})
            continue
        field = _read_field(name, value)
        if field is not None:
            status = status.model_copy(
                update={key: getattr(field, key) for key in field.model_fields_set}
            )
    return status


def _read_field(name: str, value: Any) -> JobStatus | None:
    try:
        return JobStatus.model_validate_json(to_json({name: value}), extra="ignore")
    except ValidationError:
        return None


def was_running(status: JobStatus) -> bool:
    """Whether rows had begun to be scored when the status was written."""
    return status.phase in (Phase.RUNNING, Phase.FINALIZING)


def start_of(record: Record, run: RunJob | None) -> datetime | None:
    """When the job began, all its automatic runs together; None: it has not, or is suspended.

    One that its queue takes back begins anew when it is admitted again: neither the Job controller
    nor a driver counts the time in the queue.
    """
    if run is not None and run.suspended:
        return None
    began = parse_time(record.status.start_time)
    if began is not None or run is None:
        return began
    return run.started or run.created


def parse_time(text: str | None) -> datetime | None:
    """An instant of the API (RFC 3339) in UTC; None: there is none to be read."""
    try:
        moment = datetime.fromisoformat(text or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):  # the latter in the years 1 and 9999
        return None


def format_time(moment: datetime) -> str:
    """The instant in whole seconds, as the API writes it."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
