"""The first moments of a run: a scorer begins to prepare while the rest of the driver is imported.

What only later steps need (`commit`, `dispatch`) is not imported here: the first row waits for what
comes before the scorer's first message.
"""

from __future__ import annotations

import os.path
import queue
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from batch_inference_runner.commit.layout import INTERNAL
from batch_inference_runner.errors import RunnerError
from batch_inference_runner.quota import cpu_quota, memory_limit_bytes
from batch_inference_runner.schedule.capacity import capacity_of
from batch_inference_runner.schedule.deadline import Deadline
from batch_inference_runner.schedule.planning import Planner
from batch_inference_runner.schedule.scorer_process import ScorerProcess
from batch_inference_runner.schedule.slot import Slot

if TYPE_CHECKING:
    from threading import Event

    from batch_inference_api.runner_contract import Location, RunnerConfig


class Launch(NamedTuple):
    """A run that has begun: its places for scorers, the first of them filled, and their events."""

    config: RunnerConfig
    stop: Event
    began: float
    deadline: Deadline
    slots: tuple[Slot, ...]
    events: queue.SimpleQueue[object]
    planner: Planner


def launch(
    config: RunnerConfig,
    *,
    stop: Event,
    scorer: ScorerProcess | None = None,
    deadline: Deadline | None = None,
) -> Launch:
    """Begin a run; nothing is written.

    Args:
        config: the job.
        stop: when set, the run ends soon and can be resumed.
        scorer: one that was started before the job was read.
        deadline: when its time is over; None: as the job says, from now on.
    """
    began = time.monotonic()
    deadline = deadline or Deadline.after(config.budget.active_deadline_seconds, began=began)
    events: queue.SimpleQueue[object] = queue.SimpleQueue()
    slots = _local_slots(config)
    slots[0].start(events.put, scorer)
    planner = Planner(config, slots[0], events, stop=stop, deadline=deadline)
    if _is_untouched(config.output.location):
        with suppress(RunnerError):  # opening the output meets it again
            planner.begin()
    return Launch(config, stop, began, deadline, slots, events, planner)


def _local_slots(config: RunnerConfig) -> tuple[Slot, ...]:
    capacity = capacity_of(config, cpus=cpu_quota(), memory_bytes=memory_limit_bytes())
    gpus = range(capacity.scorers) if config.workers.gpus else [None]
    return tuple(
        Slot(
            name=f"local-{number}",
            spawn=partial(ScorerProcess.spawn, gpu=gpu),
            threads=capacity.threads,
            memory_bytes=capacity.memory_bytes,
            has_gpu=gpu is not None,
        )
        for number, gpu in enumerate(gpus)
    )


def _is_untouched(location: Location) -> bool:
    """Say if no run has been here, so that this one will need a plan of its own.

    A run that resumes goes on with the plan that it finds. Only folders are looked at: a store's
    answer would take longer than the imports that are to be overlapped.
    """
    scheme, _, path = location.uri.partition("://")
    return scheme == "file" and not os.path.lexists(f"{path}/{INTERNAL}")
