"""Asks a run's first pod how far it is: `GET http://<pod>:8080/progress`.

The answer comes from a pod that runs other people's models, and the address may meanwhile belong to
another pod: the answer is bounded in size and time, redirects and proxies are not followed, and a
report of another run is as good as none.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

import aiohttp

from batch_inference_api.pod_contract import HTTP_PORT
from batch_inference_api.runner_contract import (
    ContractSkewError,
    ContractVersionError,
    ProgressReport,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

_ANSWER_SECONDS = 2.0
_ANSWER_BYTES = 64 * 1024
_CONCURRENT_POLLS = 50


class PollOutcome(StrEnum):
    """How a poll ended."""

    ANSWERED = "answered"
    UNREACHABLE = "unreachable"
    UNREADABLE = "unreadable"
    """Too long, or no report."""
    SKEWED = "skewed"
    """A report of another contract version."""
    FOREIGN = "foreign"
    """A report of another job or run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollTarget:
    """The pod that is asked, and whose report is expected."""

    pod_uid: str
    ip: str
    job_uid: str
    run_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """What came of it."""

    report: ProgressReport | None = None
    unreachable_seconds: float = 0
    """Since when, at the latest, the pod has not given a report of its own."""
    failure: str = ""
    """Why it gave none just now."""
    is_skewed: bool = False
    """It gave one that another release has written."""


class PollFailed(Exception):
    """The pod gave no report that counts."""

    def __init__(self, outcome: PollOutcome, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


def progress_url(ip: str, port: int = HTTP_PORT) -> str:
    """Where a pod's progress is served.

    Raises:
        PollFailed: that is no address.
    """
    try:
        address = ip_address(ip)
    except ValueError as error:
        raise PollFailed(PollOutcome.UNREACHABLE, f"{ip!r} is no IP address") from error
    host = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
    return f"http://{host}:{port}/progress"


def read_report(body: bytes, target: PollTarget) -> ProgressReport:
    """The report in an answer.

    Raises:
        PollFailed: it cannot be read, or is another run's.
    """
    try:
        report = ProgressReport.parse(body)
    except ContractSkewError as error:
        raise PollFailed(PollOutcome.SKEWED, str(error)) from error
    except ContractVersionError as error:
        raise PollFailed(PollOutcome.UNREADABLE, str(error)) from error
    if report.job.uid != target.job_uid or report.run_number != target.run_number:
        raise PollFailed(PollOutcome.FOREIGN, "the report is of another job or run")
    return report


class ProgressPoller:
    """Polls pods, and remembers in memory for how long each has been silent."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        clock: Callable[[], float],
        count_poll: Callable[[PollOutcome], None] = lambda _outcome: None,
        port: int = HTTP_PORT,
    ) -> None:
        self._session = session
        self._clock = clock
        self._count_poll = count_poll
        self._port = port
        self._slots = asyncio.Semaphore(_CONCURRENT_POLLS)
        self._silent_since: dict[str, float] = {}

    async def __call__(self, target: PollTarget) -> Poll:
        """Ask a pod once; this never raises for what the pod does."""
        async with self._slots:
            asked = self._clock()
            try:
                report = read_report(await self._fetch(target.ip), target)
            except PollFailed as failure:
                self._count_poll(failure.outcome)
                since = self._silent_since.setdefault(target.pod_uid, asked)
                return Poll(
                    unreachable_seconds=self._clock() - since,
                    failure=str(failure),
                    is_skewed=failure.outcome is PollOutcome.SKEWED,
                )
        self._count_poll(PollOutcome.ANSWERED)
        self._silent_since.pop(target.pod_uid, None)
        return Poll(report=report)

    def forget(self, pod_uid: str) -> None:
        """Drop what is remembered of a pod that is gone."""
        self._silent_since.pop(pod_uid, None)

    def forget_all_but(self, pod_uids: Iterable[str]) -> None:
        """Drop what is remembered of all other pods."""
        kept = frozenset(pod_uids)
        self._silent_since = {
            uid: since for uid, since in self._silent_since.items() if uid in kept
        }

    async def _fetch(self, ip: str) -> bytes:
        url = progress_url(ip, self._port)
        timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
        try:
            async with self._session.get(url, timeout=timeout, allow_redirects=False) as response:
                body = await _read_at_most(response.content, _ANSWER_BYTES)
                code = response.status
        except TimeoutError as error:
            message = f"{url} did not answer within {_ANSWER_SECONDS:g} s"
            raise PollFailed(PollOutcome.UNREACHABLE, message) from error
        except (aiohttp.ClientError, OSError) as error:
            message = f"{url} cannot be reached ({type(error).__name__})"
            raise PollFailed(PollOutcome.UNREACHABLE, message) from error
        if code != 200:
            raise PollFailed(PollOutcome.UNREACHABLE, f"{url} answered {code}")
        return body


@asynccontextmanager
async def open_poller(
    *, clock: Callable[[], float], count_poll: Callable[[PollOutcome], None]
) -> AsyncIterator[ProgressPoller]:
    """A poller with connections of its own: no proxy, no cookies, no decompression."""
    connector = aiohttp.TCPConnector(limit=_CONCURRENT_POLLS)
    async with aiohttp.ClientSession(
        connector=connector,
        trust_env=False,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
    ) as session:
        yield ProgressPoller(session, clock=clock, count_poll=count_poll)


async def _read_at_most(content: aiohttp.StreamReader, limit: int) -> bytes:
    body = bytearray()
    async for chunk in content.iter_chunked(16 * 1024):
        body += chunk
        if len(body) > limit:
            raise PollFailed(PollOutcome.UNREADABLE, f"the answer is longer than {limit} bytes")
    return bytes(body)
