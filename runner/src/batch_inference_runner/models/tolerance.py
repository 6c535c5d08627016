"""How far two scores of the same row may lie apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]


class Tolerance(NamedTuple):
    """How far two scores of the same row may lie apart: relative, and relative to the largest."""

    relative: float
    of_largest: float
    exact_discrete: bool = True
    """Whether all integers and strings must be equal, or 9 in 10 of them (of fewer than 20, all but
    one): coarse models flip labels at ties."""


FLOAT32 = Tolerance(1e-4, 1e-5)
FLOAT16 = Tolerance(1e-2, 5e-3, exact_discrete=False)
QUANTIZED = Tolerance(5e-2, 5e-2, exact_discrete=False)
ROUNDING = Tolerance(1e-3, 1e-3)
SAME = Tolerance(1e-6, 1e-6)


def agree(
    pairs: Sequence[tuple[Array, Array]], tolerance: Tolerance, *, largest: float | None = None
) -> bool:
    """Say if an output of some rows is the same in both of each pair.

    `largest` is the largest score that there is; None: of each row, its own.
    """
    if any(left.shape != right.shape for left, right in pairs):
        return False
    changed = sum(_count_changed(left, right, tolerance, largest) for left, right in pairs)
    if not may_flip(pairs[0][1], tolerance):
        return changed == 0
    return changed <= max(1, sum(right.size for _, right in pairs) // 10)


def may_flip(values: Array, tolerance: Tolerance) -> bool:
    """Say if these are labels of which a few may change."""
    if tolerance.exact_discrete or values.dtype.kind == "f":
        return False
    return not any(isinstance(value, dict) for value in values.reshape(-1)[:1])


def largest_of(values: Array) -> float:
    """Return the largest finite magnitude among numbers; 0 if there is none."""
    if values.dtype.kind != "f":
        return 0.0
    return float(np.nanmax(np.abs(values), initial=0.0, where=np.isfinite(values)))


def _count_changed(
    left: Array, right: Array, tolerance: Tolerance, largest: float | None = None
) -> int:
    if left.dtype == object:
        pairs = zip(left.reshape(-1), right.reshape(-1), strict=True)
        return sum(not _same_object(one, other, tolerance) for one, other in pairs)
    if left.dtype.kind != "f":
        return int(np.count_nonzero(left != right))
    with np.errstate(invalid="ignore"):
        largest = largest_of(right) if largest is None else largest
        close = np.isclose(
            left,
            right,
            rtol=tolerance.relative,
            atol=tolerance.of_largest * largest,
            equal_nan=True,
        )
    return int(np.count_nonzero(~close))


def _same_object(left: Any, right: Any, tolerance: Tolerance) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and not _count_changed(
            np.array(list(left.values()), dtype=np.float64),
            np.array(list(right.values()), dtype=np.float64),
            tolerance,
        )
    return bool(left == right)
