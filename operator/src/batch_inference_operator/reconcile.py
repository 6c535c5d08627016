"""Reconciling one job: observe -> plan_next -> carry_out, then the status, then events.

Everything else in this package serves these steps.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any

from batch_inference_operator import carry_out as act
from batch_inference_operator.cache import Kind
from batch_inference_operator.cluster.api import Conflict, NotFound
from batch_inference_operator.decide.next_step import plan_next
from batch_inference_operator.decide.plan import CreateRun, Plan
from batch_inference_operator.decide.record import read_record
from batch_inference_operator.decide.status import is_worth_writing, without_clock
from batch_inference_operator.observe import observe
from batch_inference_operator.refused_plans import RefusedPlans

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from batch_inference_api.v1alpha1.status import JobStatus
    from batch_inference_operator.cache import ObjectCache
    from batch_inference_operator.cluster.api import Cluster
    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.keys import Key
    from batch_inference_operator.observation import Observation, Refusal
    from batch_inference_operator.progress_poll import ProgressPoller
    from batch_inference_operator.settings import Settings

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """A status, and when it was written."""

    at: datetime
    status: JobStatus

    @property
    def told(self) -> JobStatus:
        return without_clock(self.status)


class Reconciler:
    """Brings jobs one step further, each time from what is there."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        cache: ObjectCache,
        settings: Settings,
        poll_progress: ProgressPoller,
        clock: Callable[[], datetime],
        make_token: Callable[[], str],
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._settings = settings
        self._poll_progress = poll_progress
        self._clock = clock
        self._make_token = make_token
        self._written: dict[Key, _Written] = {}
        """What was last written of each job: only to write seldom."""
        self._ends: dict[Key, Record] = {}
        """How jobs ended, as their status said."""
        self._refused = RefusedPlans(clock=clock)

    async def reconcile(self, key: Key) -> float | None:
        """Bring a job one step further; returns the seconds until it should be looked at again.

        Raises:
            ClusterError: worth trying again.
        """
        raw = self._cache.get(Kind.JOB, key)
        if raw is None:
            self._written.pop(key, None)
            self._ends.pop(key, None)
            self._refused.forget(key)
            return None
        record = read_record(raw)
        plan = self._plan_end(record) or await self._step(record)
        status = plan.status
        if status is None or without_clock(status) == without_clock(record.status):
            return plan.look_again_seconds
        if not self._is_due(record, status, is_urgent=plan.is_urgent):
            soon = self._settings.progress_seconds
            again = plan.look_again_seconds
            return soon if again is None else min(again, soon)
        await self._write_status(record, plan, status)
        return plan.look_again_seconds

    def _plan_end(self, record: Record) -> Plan | None:
        """Remember how a job ended; have it written again if the status does not say so any more.

        Otherwise whoever strips a status would have the job run again.
        """
        if record.is_finished:
            self._ends[record.key] = replace(record, job=None)
            return None
        end = self._ends.get(record.key)
        if end is None or end.uid != record.uid:
            return None
        return Plan(status=end.status, is_urgent=True)

    async def _step(self, record: Record) -> Plan:
        """Look, decide and act; returns what is to be written."""
        observation = await self._observe(record)
        plan = self._plan(record, observation)
        if plan.needs_live_look:
            observation = await self._observe(record, is_live=True)
            plan = self._plan(record, observation)
        refusal = await self._try(record, plan)
        return (
            plan if refusal is None else self._plan(record, replace(observation, refusal=refusal))
        )

    async def _try(self, record: Record, plan: Plan) -> Refusal | None:
        """Carry a plan out; returns why the API server does not let it be."""
        refusal = self._refused.find(record, plan.actions)
        if refusal is not None:
            return refusal
        try:
            await self._carry_out(record, plan)
        except act.Refused as refused:
            _logger.warning("refused", extra={"job": str(record.key), "refusal": str(refused)})
            return self._refused.note(record, plan.actions, refused.refusal)
        if plan.actions:
            self._refused.forget(record.key)
        return None

    async def _observe(self, record: Record, *, is_live: bool = False) -> Observation:
        return await observe(
            record,
            cluster=self._cluster,
            cache=self._cache,
            poll_progress=self._poll_progress,
            now=self._clock(),
            is_live=is_live,
        )

    def _plan(self, record: Record, observation: Observation) -> Plan:
        return plan_next(record, observation, now=self._clock(), settings=self._settings)

    async def _carry_out(self, record: Record, plan: Plan) -> None:
        if any(isinstance(action, CreateRun) for action in plan.actions):
            await self._check_unchanged(record)
        await act.carry_out(
            plan.actions,
            record,
            cluster=self._cluster,
            settings=self._settings,
            make_token=self._make_token,
        )

    async def _write_status(self, record: Record, plan: Plan, status: JobStatus) -> None:
        now = self._clock()
        if await self._replace_status(record, status):
            self._written[record.key] = _Written(at=now, status=status)
            await act.announce(plan.announcements, record, cluster=self._cluster, now=now)

    async def _replace_status(self, record: Record, status: JobStatus) -> bool:
        """Write a status; False: the job is gone.

        Raises:
            Conflict: the job had changed. It is read anew, since a watch may be late or dead.
        """
        try:
            self._cache.see(Kind.JOB, await act.write_status(record, status, cluster=self._cluster))
        except NotFound:
            return False
        except Conflict:
            await self._read_anew(record)
            raise
        return True

    async def _check_unchanged(self, record: Record) -> None:
        """Have the API server confirm the job as it was read: no other write of a plan does.

        Raises:
            Conflict: it has changed. It may have ended, by another operator's hand.
        """
        found = await self._read_anew(record)
        if record.resource_version not in [job["metadata"]["resourceVersion"] for job in found]:
            raise Conflict("the job has changed since it was read")

    async def _read_anew(self, record: Record) -> tuple[Mapping[str, Any], ...]:
        found = await self._cluster.list(
            Kind.JOB, namespace=record.namespace, fields=f"metadata.name={record.name}"
        )
        for job in found:
            self._cache.see(Kind.JOB, job)
        return found

    def _is_due(self, record: Record, status: JobStatus, *, is_urgent: bool) -> bool:
        return not self._was_just_written(record, status) and is_worth_writing(
            record.status,
            status,
            is_urgent=is_urgent,
            since_last_seconds=self._since_written_seconds(record),
            interval=self._settings.progress_seconds,
        )

    def _was_just_written(self, record: Record, status: JobStatus) -> bool:
        """Whether this very status was written a moment ago, though the stored one differs.

        Then somebody has overwritten it, or the CRD of an earlier release drops fields that it does
        not know: writing it again at once would go on without end.
        """
        last = self._written.get(record.key)
        if last is None or without_clock(record.status) == last.told:
            return False
        is_recent = self._since_written_seconds(record) < self._settings.progress_seconds
        return is_recent and without_clock(status) == last.told

    def _since_written_seconds(self, record: Record) -> float:
        last = self._written.get(record.key)
        seconds = inf if last is None else (self._clock() - last.at).total_seconds()
        return seconds if seconds >= 0 else inf  # the clock was set back
