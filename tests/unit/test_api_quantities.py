"""Kubernetes quantities, read exactly."""

from __future__ import annotations

import pytest

from batch_inference_api.v1alpha1.quantity import millis, whole


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        ("0", 0),
        (4, 4),
        ("256Mi", 256 * 1024**2),
        ("1.5Gi", 3 * 1024**3 // 2),
        ("2k", 2000),
        ("1E", 10**18),
        ("1Ei", 2**60),
        ("1e3", 1000),
        ("12E2", 1200),
        (".5", 1),
        ("100m", 1),
        ("1n", 1),
    ],
)
def test_bytes_are_whole_and_rounded_up(quantity, expected):
    assert whole(quantity) == expected


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [("500m", 500), ("4", 4000), ("0.1", 100), ("1u", 1), ("2500m", 2500)],
)
def test_cpu_is_in_thousandths(quantity, expected):
    assert millis(quantity) == expected


@pytest.mark.parametrize("text", ["", "x", "-1", "1 Gi", "1gi", "1e999", "10E", "1" * 40, "1Ki2"])
def test_what_is_no_quantity_is_refused(text):
    with pytest.raises(ValueError, match="must be a quantity"):
        whole(text)
