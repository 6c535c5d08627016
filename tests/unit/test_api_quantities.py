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


def test_what_is_too_long_is_not_repeated():
    with pytest.raises(ValueError, match=r"^must be a quantity such as 4, 500m, 8Gi$"):
        whole("1" * 40)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("512MB", "512M or 512Mi"),
        ("1gb", "1G or 1Gi"),
        ("1K", "1k or 1Ki"),
        ("1.5kB", "1.5k or 1.5Ki"),
        ("8g", "8G or 8Gi"),
        ("8gi", "8Gi"),
        ("8GiB", "8Gi"),
        ("256 MB", "256M or 256Mi"),
        ("8 Gi", "8Gi"),
        (" 500m", "500m"),
    ],
)
def test_a_suffix_that_is_nearly_right_is_told(text, meant):
    with pytest.raises(ValueError, match=rf"8Gi; did you mean {meant}\?$"):
        whole(text)
