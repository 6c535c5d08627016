"""Samples of rejected rows, as a report tells them: few, short, and of many kinds."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from batch_inference_api.choices import MAX_SAMPLES
from batch_inference_api.runner_contract import RowFailure
from batch_inference_runner.commit.staged import choose_samples
from batch_inference_runner.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_MOST_TEXT = 300


_kind_of = attrgetter("stage", "error", "message")


def with_samples(
    known: Sequence[RowFailure], samples: Iterable[Mapping[str, Any]]
) -> Sequence[RowFailure]:
    """Add a shard's samples to those that are known, and keep the most telling.

    A resumed run adds those of a hundred thousand shards: most are passed over unread.
    """
    if len(known) == MAX_SAMPLES:
        kinds = set(map(_kind_of, known))
        samples = [
            each
            for each in samples
            if tuple(map(each.get, ("stage", "error", "message"))) not in kinds
        ]
    added = [*filter(None, map(_failure_of, samples))]
    return choose_samples([*known, *added], _kind_of) if added else known


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
