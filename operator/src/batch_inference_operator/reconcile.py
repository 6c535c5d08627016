"""Reconciling one job: observe -> plan_next -> carry_out, then the status, then events.

Everything else in this package serves these steps.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from batch_inference_operator import carry_out as act
from batch_inference_operator.cache import Kind
from batch_inference_operator.cluster.api import NotFound
from batch_inference_operator.decide.next_step import plan_next
from batch_inference_operator.decide.record import read_record
from batch_inference_operator.decide.status import is_worth_writing
from batch_inference_operator.observe import observe

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from batch_inference_operator.cache import ObjectCache
    from batch_inference_operator.cluster.api import Cluster
    from batch_inference_operator.decide.plan import Plan
    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.keys import Key
    from batch_inference_operator.observation import Observation
    from batch_inference_operator.progress_poll import ProgressPoller
    from batch_inference_operator.settings import Settings

_logger = logging.getLogger(__name__)


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
        self._written: dict[Key, datetime] = {}
        """When each job's status was last written: only to write progress seldom."""

    async def reconcile(self, key: Key) -> float | None:
        """Bring a job one step further; returns the seconds until it should be looked at again.

        Raises:
            ClusterError: worth trying again.
        """
        raw = self._cache.get(Kind.JOB, key)
        if raw is None:
            self._written.pop(key, None)
            return None
        record = read_record(raw)
        observation = await self._observe(record)
        plan = self._plan(record, observation)
        try:
            await self._carry_out(record, plan)
        except act.Refused as refused:
            _logger.warning("refused", extra={"job": str(key), "refusal": str(refused)})
            plan = self._plan(record, replace(observation, refusal=refused.refusal))
        await self._write_status(record, plan)
        return plan.look_again_seconds

    async def _observe(self, record: Record) -> Observation:
        return await observe(
            record,
            cluster=self._cluster,
            cache=self._cache,
            poll_progress=self._poll_progress,
            now=self._clock(),
        )

    def _plan(self, record: Record, observation: Observation) -> Plan:
        return plan_next(record, observation, now=self._clock(), settings=self._settings)

    async def _carry_out(self, record: Record, plan: Plan) -> None:
        await act.carry_out(
            plan.actions,
            record,
            cluster=self._cluster,
            settings=self._settings,
            make_token=self._make_token,
        )

    async def _write_status(self, record: Record, plan: Plan) -> None:
        now = self._clock()
        if plan.status is None or not self._is_due(record, plan, now):
            return
        try:
            written = await act.write_status(record, plan.status, cluster=self._cluster)
        except NotFound:
            return  # deleted meanwhile
        self._cache.see(Kind.JOB, written)
        self._written[record.key] = now
        await act.announce(plan.announcements, record, cluster=self._cluster, now=now)

    def _is_due(self, record: Record, plan: Plan, now: datetime) -> bool:
        assert plan.status is not None
        last = self._written.get(record.key)
        return is_worth_writing(
            record.status,
            plan.status,
            is_urgent=plan.is_urgent,
            since_last_seconds=float("inf") if last is None else (now - last).total_seconds(),
            interval=self._settings.progress_seconds,
        )
