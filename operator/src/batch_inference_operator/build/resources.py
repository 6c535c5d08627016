"""What a pod requests and may use, once the gaps that the job left are filled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_api.v1alpha1.quantity import whole
from batch_inference_api.v1alpha1.workers import ResourceRequirements

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch_inference_operator.settings import Settings

_NATIVE = ("cpu", "memory", "ephemeral-storage")
"""Resources of which a pod may request less than its limit; of all others it gets what it asks."""


def fill_resources(asked: ResourceRequirements, settings: Settings) -> ResourceRequirements:
    """Everything that a job's pods request and may use.

    Each resource has a request, because queues and the scheduler count nothing else. Memory always
    has a limit as well, the request if the job names none: scorers size themselves by that figure
    anyway, and a pod that goes beyond it must not take its neighbours along. CPU gets no limit of
    its own: what is idle may be used. Whatever else there is (devices, huge pages) is never
    over-committed, so there both are the same.
    """
    limits = _as_text(asked.limits)
    requests = limits | _as_text(asked.requests)
    requests.setdefault("cpu", str(settings.default_cpu))
    requests.setdefault("memory", str(settings.default_memory))
    limits.setdefault("memory", requests["memory"])
    for name in requests:
        if name not in _NATIVE:
            limits.setdefault(name, requests[name])
            requests[name] = limits[name]
    return ResourceRequirements(requests=requests, limits=limits)


def _as_text(quantities: Mapping[str, str | int]) -> dict[str, str | int]:
    return {name: str(quantity) for name, quantity in quantities.items()}


def memory_limit_bytes(filled: ResourceRequirements) -> int:
    """Most memory that a pod with these resources may use."""
    return whole(filled.limits["memory"])
