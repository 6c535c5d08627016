"""Samples of rejected rows, as a report tells them: few, short, and of many kinds."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from batch_inference_api.runner_contract import RowFailure
from batch_inference_runner.commit.staged import SAMPLE_KIND, choose_samples
from batch_inference_runner.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_MOST_TEXT = 300


def with_samples(
    known: Sequence[RowFailure], samples: Iterable[Mapping[str, Any]]
) -> Sequence[RowFailure]:
    """Add a shard's samples to those that are known, and keep the most telling."""
    added = [*filter(None, map(_failure_of, samples))]
    return choose_samples([*known, *added], attrgetter(*SAMPLE_KIND)) if added else known


def _failure_of(sample: Mapping[str, Any]) -> RowFailure | None:
    try:
        failure = RowFailure.model_validate(sample)
    except ValidationError:
        return None  # a courtesy; a marker of another version must not fail the run
    short = {
        "file": redact(failure.file)[-_MOST_TEXT:],
        "message": redact(failure.message)[:_MOST_TEXT],
    }
    return failure.model_copy(update=short)
