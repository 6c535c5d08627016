"""What pods request and may use where jobs leave gaps."""

from __future__ import annotations

from typing import Any

import pytest

from batch_inference_api.v1alpha1.workers import ResourceRequirements
from batch_inference_operator.build.plain import as_plain
from batch_inference_operator.build.resources import fill_resources, memory_limit_bytes
from batch_inference_operator.settings import Settings

SETTINGS = Settings(default_cpu="2", default_memory="3Gi")


@pytest.mark.parametrize(
    ("asked", "filled"),
    [
        pytest.param(
            {},
            {"requests": {"cpu": "2", "memory": "3Gi"}, "limits": {"memory": "3Gi"}},
            id="a job that asks for nothing gets the defaults, its memory limited",
        ),
        pytest.param(
            {"requests": {"cpu": "500m", "memory": "8Gi"}},
            {"requests": {"cpu": "500m", "memory": "8Gi"}, "limits": {"memory": "8Gi"}},
            id="requested memory is the limit, CPU has none",
        ),
        pytest.param(
            {"limits": {"cpu": 4, "memory": "8Gi"}},
            {
                "requests": {"cpu": "4", "memory": "8Gi"},
                "limits": {"cpu": "4", "memory": "8Gi"},
            },
            id="limits alone are requested, as Kubernetes would do",
        ),
        pytest.param(
            {"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}},
            {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
            id="less memory may be requested than used",
        ),
        pytest.param(
            {"requests": {"nvidia.com/gpu": 1}},
            {
                "requests": {"cpu": "2", "memory": "3Gi", "nvidia.com/gpu": "1"},
                "limits": {"memory": "3Gi", "nvidia.com/gpu": "1"},
            },
            id="a device that is requested is the limit",
        ),
        pytest.param(
            {"requests": {"nvidia.com/gpu": 1}, "limits": {"nvidia.com/gpu": 2}},
            {
                "requests": {"cpu": "2", "memory": "3Gi", "nvidia.com/gpu": "2"},
                "limits": {"memory": "3Gi", "nvidia.com/gpu": "2"},
            },
            id="of devices the limit is requested, since they are not over-committed",
        ),
        pytest.param(
            {"requests": {"ephemeral-storage": "1Gi"}},
            {
                "requests": {"cpu": "2", "memory": "3Gi", "ephemeral-storage": "1Gi"},
                "limits": {"memory": "3Gi"},
            },
            id="a disk may be used beyond what is requested",
        ),
    ],
)
def test_gaps_are_filled(asked: dict[str, Any], filled: dict[str, Any]) -> None:
    resources = fill_resources(ResourceRequirements(**asked), SETTINGS)

    assert as_plain(resources) == filled


def test_the_memory_limit_is_in_bytes() -> None:
    assert memory_limit_bytes(fill_resources(ResourceRequirements(), SETTINGS)) == 3 * 2**30
