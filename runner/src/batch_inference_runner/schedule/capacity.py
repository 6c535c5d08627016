"""How many scorers, threads and bytes this pod (or this share of a machine) has. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from batch_inference_api.runner_contract import RunnerConfig

_SCORER_SHARE = 0.8
"""Of the memory limit; the rest is the driver's, Ray's and the page cache's."""


class Capacity(NamedTuple):
    """`scorers` processes with `threads` threads and `memory_bytes` each."""

    scorers: int
    threads: int
    memory_bytes: int


def capacity_of(config: RunnerConfig, *, cpus: int, memory_bytes: int) -> Capacity:
    """Divide what there is: one scorer, or one for each GPU.

    Args:
        config: asks for CPUs and memory; more than there is cannot be had.
        cpus: the cgroup quota or the affinity, whichever is less.
        memory_bytes: the cgroup limit or the machine's memory, whichever is less.
    """
    asked_cpus = (config.workers.cpu_millis or cpus * 1000) // 1000
    scorers = max(1, config.workers.gpus)
    threads = min(cpus, max(1, asked_cpus)) // scorers // config.execution.intra_op_num_threads
    limit = min(memory_bytes, config.workers.memory_bytes or memory_bytes)
    share = int(limit * _SCORER_SHARE) // scorers
    return Capacity(scorers, max(1, threads), max(1, share))  # 0 would be no limit
