"""What a member of a run other than the first does: join the run's Ray cluster, and stay in it.

The driver finds the node and puts a scorer on it. When the driver is replaced its attempt id
changes, and the member leaves the old cluster for the new one. A worker never ends by itself.
"""

from __future__ import annotations

import json
import logging
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from batch_inference_runner.quota import cpu_quota, memory_limit_bytes
from batch_inference_runner.schedule import ray_processes
from batch_inference_runner.schedule.capacity import capacity_of

if TYPE_CHECKING:
    from threading import Event

    from batch_inference_api.runner_contract import RunnerConfig

_logger = logging.getLogger(__name__)
_ASK_SECONDS = 0.5
_ANSWER_SECONDS = 2.0
_SILENT_SECONDS = 15.0


class NotInvited(Exception):
    """Why the driver does not say where to join."""


def run(config: RunnerConfig, stop: Event, *, ip: str) -> None:
    """Serve the run until `stop` is set. `ip` is the address under which this host is reached."""
    node: ray_processes.RayNode | None = None
    joined: dict[str, str] | None = None
    told_at = monotonic()
    try:
        while not stop.wait(_ASK_SECONDS):
            try:
                invitation = ask_to_join(config)
            except NotInvited as error:
                told_at = _tell(error, config, told_at=told_at)
                continue
            told_at = monotonic()
            if invitation == joined and node is not None and node.is_running:
                continue
            if node is not None:
                node.stop()
            _logger.info("joining the run", extra={"attempt": invitation["attempt"]})
            node = _join(config, invitation, ip=ip)
            joined = invitation
    finally:
        if node is not None:
            node.stop()


def _tell(why: NotInvited, config: RunnerConfig, *, told_at: float) -> float:
    """Log why the driver does not let this member in, now and then; returns when that was last.

    One that starts or is replaced answers within seconds, and nothing is said.
    """
    now = monotonic()
    if now - told_at < _SILENT_SECONDS:
        return told_at
    extra = {"address": config.run.head_address, "why": str(why)}
    _logger.warning("the first pod does not let this worker in; it asks again", extra=extra)
    return now


def _join(config: RunnerConfig, invitation: dict[str, str], *, ip: str) -> ray_processes.RayNode:
    capacity = capacity_of(config, cpus=cpu_quota(), memory_bytes=memory_limit_bytes())
    return ray_processes.start_member(
        ip=ip,
        address=invitation["address"],
        token_path=_token_path(config),
        resources={
            ray_processes.SCORERS_RESOURCE: capacity.scorers,
            ray_processes.THREADS_RESOURCE: capacity.threads,
            ray_processes.MEMORY_RESOURCE: capacity.memory_bytes >> 20,
        },
    )


def ask_to_join(config: RunnerConfig) -> dict[str, str]:
    """Ask the driver where its cluster is.

    By a bare connection, which knows neither proxies nor redirects: the token is for the driver
    only, and a proxy that a job's object store needs does not reach the pods of a cluster.

    Raises:
        NotInvited: the driver is not to be reached, not ready, or being replaced.
    """
    token = Path(_token_path(config)).read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    try:
        connection = HTTPConnection(config.run.head_address or "", timeout=_ANSWER_SECONDS)
        with closing(connection):
            connection.request("POST", "/join", body=b"", headers=headers)
            answer = connection.getresponse()
            if answer.status != HTTPStatus.OK:
                raise NotInvited(f"it answered {answer.status} {answer.reason}")
            invitation: dict[str, str] = json.load(answer)
            return invitation
    except (OSError, HTTPException, ValueError) as error:
        raise NotInvited(f"{type(error).__name__}: {error}") from error


def _token_path(config: RunnerConfig) -> str:
    if config.run.token_path is None:
        raise ValueError("a worker needs run.tokenPath in its config")
    return config.run.token_path
