"""An operator that lives in the test and dies at a chosen write to the API server."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from batch_inference_operator.cache import Kind, ObjectCache
from batch_inference_operator.cluster.api import Cluster, Conflict, Unreachable
from batch_inference_operator.keys import Key
from batch_inference_operator.names import CHILD_SELECTOR
from batch_inference_operator.progress_poll import Poll, PollTarget
from batch_inference_operator.reconcile import Reconciler
from batch_inference_operator.settings import Settings

_WRITES = ("create", "delete_job", "scale_job", "replace_status")
_PAUSE_SECONDS = 0.1


class Died(BaseException):
    """The operator's process is gone; nothing of it may catch this."""


class MortalCluster:
    """A cluster whose caller dies at its n-th write, before or after the write takes effect."""

    def __init__(self, cluster: Cluster, *, at_write: int | None, before: bool = False) -> None:
        self._cluster = cluster
        self._at_write = at_write
        self._before = before
        self.writes: list[str] = []

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._cluster, name)
        return self._mortal(name, call) if name in _WRITES else call

    def _mortal(self, name: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        async def write(*arguments: Any, **options: Any) -> Any:
            self.writes.append(name)
            last = len(self.writes) == self._at_write
            if last and self._before:
                raise Died
            result = await call(*arguments, **options)
            if last:
                raise Died
            return result

        return write


class OperatorLife:
    """One process of the operator, from its start: it knows nothing but what the cluster says."""

    def __init__(self, cluster: MortalCluster, settings: Settings) -> None:
        self._cluster = cluster
        self._cache = ObjectCache()
        self._reconciler = Reconciler(
            cluster=cluster,  # type: ignore[arg-type] # it answers to every call of the protocol
            cache=self._cache,
            settings=settings,
            poll_progress=_ask_nobody,  # type: ignore[arg-type] # no pod of these tests runs
            clock=lambda: datetime.now(UTC),
            make_token=lambda: "0" * 64,
        )

    async def live_until(
        self, key: Key, arrived: Callable[[dict[str, Any]], bool], *, seconds: float
    ) -> dict[str, Any]:
        """Reconcile again and again until the job's object is as expected; return it."""
        deadline = time.monotonic() + seconds
        while True:
            await self._look(key.namespace)
            job = self._cache.get(Kind.JOB, key)
            assert job is not None
            if arrived(dict(job)):
                return dict(job)
            assert time.monotonic() < deadline, f"{key} never arrived: {job.get('status')}"
            with contextlib.suppress(Conflict, Unreachable):  # looked at anew, as the queue does
                await self._reconciler.reconcile(key)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _look(self, namespace: str) -> None:
        for kind in Kind:
            began = self._cache.begin_list()
            labels = "" if kind is Kind.JOB else CHILD_SELECTOR
            items = await self._cluster.list(kind, namespace=namespace, labels=labels)
            self._cache.replace(kind, items, began=began, namespace=namespace)


async def _ask_nobody(_target: PollTarget) -> Poll:
    return Poll()
