"""One of several operators works at a time, chosen by a Lease.

That is for economy only: two operators at work do no harm, because every write names the very
object and version that it is about. The rules are client-go's: a holder is trusted until its Lease
has not changed for `lease_seconds` *on this machine's monotonic clock*, since clocks of two
machines are never compared; a leader that cannot renew for `renew_seconds` gives up before that.

`kubernetes.aio.leaderelection` was not used: it ends for good on the first connection error, it
compares wall clocks, and it never releases the Lease, so that each roll-out waits until it expires.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from batch_inference_operator.cluster.api import AlreadyExists, ClusterError, Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from batch_inference_operator.cluster.api import Cluster

_logger = logging.getLogger(__name__)


class LeadershipLost(Exception):
    """Another operator may be at work by now: stop at once."""


class Leadership(Protocol):
    """The right to work."""

    @property
    def is_current(self) -> bool:
        """Whether the right certainly still holds at this moment."""
        ...

    async def acquire(self) -> None:
        """Wait until this operator is the one that works."""
        ...

    async def hold(self) -> NoReturn:
        """Keep the right. Raises LeadershipLost when that fails."""
        ...

    async def release(self) -> None:
        """Let another operator take over at once; never raises for what the server says."""
        ...


class WithoutElection:
    """The right to work of an operator that asks nobody."""

    is_current = True

    async def acquire(self) -> None:
        """Return at once."""

    async def hold(self) -> NoReturn:
        """Never return."""
        while True:
            await asyncio.Event().wait()

    async def release(self) -> None:
        """There is nothing to release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTiming:
    """client-go's defaults, and for how long a process that ends may try to release its Lease."""

    lease_seconds: int = 15
    renew_seconds: float = 10
    retry_seconds: float = 2
    release_seconds: float = 2

    @property
    def try_seconds(self) -> float:
        """How long one call may take: a connection that went dead must leave time for another."""
        return self.renew_seconds / 2


@dataclass(frozen=True, slots=True)
class Observed:
    """A Lease's content, and when this process first saw that content, on its monotonic clock."""

    spec: Mapping[str, Any]
    since: float


def observe_lease(before: Observed | None, spec: Mapping[str, Any], now: float) -> Observed:
    """Take note of what a Lease says; its age counts from when it last said something else."""
    return before if before is not None and before.spec == spec else Observed(spec, now)


def may_take(observed: Observed, identity: str, now: float) -> bool:
    """Whether a Lease is ours, nobody's, or was not renewed for as long as it promises."""
    holder = observed.spec.get("holderIdentity")
    lease_seconds = observed.spec.get("leaseDurationSeconds") or 0
    return not holder or holder == identity or observed.since + lease_seconds <= now


def claim(
    spec: Mapping[str, Any], *, identity: str, lease_seconds: int, now: datetime
) -> dict[str, Any]:
    """What a Lease says once `identity` has taken or renewed it."""
    moment = _micro_time(now)
    is_ours = spec.get("holderIdentity") == identity
    transitions = spec.get("leaseTransitions") or 0
    return {
        **spec,
        "holderIdentity": identity,
        "leaseDurationSeconds": lease_seconds,
        "acquireTime": spec.get("acquireTime", moment) if is_ours else moment,
        "renewTime": moment,
        "leaseTransitions": transitions if is_ours or not spec else transitions + 1,
    }


class LeaseElection:
    """Leadership by a `coordination.k8s.io/v1` Lease.

    `clock` is monotonic; `wall_clock` only fills in what people read in the Lease. `identity` must
    be new for each process: a restarted container is not the holder that it was.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float],
        wall_clock: Callable[[], datetime],
        timing: LeaseTiming | None = None,
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._wall_clock = wall_clock
        self._timing = timing or LeaseTiming()
        self._lease: dict[str, Any] = {}
        self._observed: Observed | None = None
        self._renewed: float | None = None
        self._call: asyncio.Task[bool] | None = None

    @property
    def is_current(self) -> bool:
        """Whether the Lease is ours, judged without asking: a process may have slept meanwhile."""
        return (
            self._renewed is not None and self._clock() < self._renewed + self._timing.lease_seconds
        )

    async def acquire(self) -> None:
        """Wait until the Lease is ours, through whatever the API server answers."""
        _logger.info("standing by", extra={"lease": self._name, "identity": self._identity})
        while True:
            if await self._try(self._timing.try_seconds):
                _logger.info("leading", extra={"lease": self._name, "identity": self._identity})
                return
            await asyncio.sleep(self._timing.retry_seconds)

    async def hold(self) -> NoReturn:
        """Renew the Lease. Raises LeadershipLost when another took it, or renewing fails."""
        while True:
            await asyncio.sleep(self._timing.retry_seconds)
            assert self._renewed is not None
            left = self._renewed + self._timing.renew_seconds - self._clock()
            if left <= 0:
                raise LeadershipLost(f"lease {self._name!r} could not be renewed in time")
            if not await self._try(min(left, self._timing.try_seconds)) and self._is_taken():
                raise LeadershipLost(f"lease {self._name!r} was taken by {self._holder()!r}")

    async def release(self) -> None:
        """Leave the Lease to whoever wants it, if it is ours.

        That is asked anew, once the last call has ended: it may take or renew the Lease whether or
        not anybody waits for its answer.
        """
        self._renewed = None
        try:
            async with asyncio.timeout(self._timing.release_seconds):
                if self._call is not None:
                    await asyncio.wait([self._call])
                lease = await self._cluster.get("Lease", self._name, namespace=self._namespace)
                spec = lease.get("spec") or {}
                if spec.get("holderIdentity") == self._identity:
                    await self._cluster.replace_lease({**lease, "spec": self._leave(spec)})
        except (ClusterError, TimeoutError) as error:
            _logger.warning("lease not released", extra={"error": str(error)})

    async def _try(self, seconds: float) -> bool:
        """Try once to take or renew the Lease; whoever is cancelled meanwhile leaves `_call`."""
        asked = self._clock()
        self._call = asyncio.create_task(self._call_for(seconds), name="lease call")
        is_ours = await asyncio.shield(self._call)
        if is_ours:
            self._renewed = asked
        return is_ours

    async def _call_for(self, seconds: float) -> bool:
        """Take or renew the Lease within so many seconds, if the server lets us."""
        try:
            async with asyncio.timeout(seconds):
                return await self._take_or_renew()
        except (AlreadyExists, Conflict):
            return False  # another operator was faster
        except (ClusterError, TimeoutError) as error:
            _logger.warning("lease not reached", extra={"error": str(error) or "no answer in time"})
            return False

    async def _take_or_renew(self) -> bool:
        try:
            lease = await self._cluster.get("Lease", self._name, namespace=self._namespace)
        except NotFound:
            self._keep(await self._cluster.create(self._first_lease()))
            return True
        self._keep(lease)
        assert self._observed is not None
        if not may_take(self._observed, self._identity, self._clock()):
            return False
        self._keep(await self._cluster.replace_lease({**lease, "spec": self._claim(lease)}))
        return True

    def _first_lease(self) -> dict[str, Any]:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": self._claim({}),
        }

    def _claim(self, lease: Mapping[str, Any]) -> dict[str, Any]:
        return claim(
            lease.get("spec") or {},
            identity=self._identity,
            lease_seconds=self._timing.lease_seconds,
            now=self._wall_clock(),
        )

    def _leave(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in spec.items() if key not in _HELD}
        return kept | {"leaseDurationSeconds": 1, "renewTime": _micro_time(self._wall_clock())}

    def _keep(self, lease: dict[str, Any]) -> None:
        self._lease = lease
        self._observed = observe_lease(self._observed, lease.get("spec") or {}, self._clock())

    def _holder(self) -> str:
        return str((self._lease.get("spec") or {}).get("holderIdentity") or "")

    def _is_taken(self) -> bool:
        return self._holder() not in ("", self._identity)


_HELD = frozenset({"holderIdentity", "acquireTime"})
"""What a Lease that nobody holds does not say; the server refuses an empty holder."""


def _micro_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
