"""What must be equal before rows are added to a result: readers take all of its files as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch_inference_runner.formats.output_partitions import folder_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batch_inference_api.runner_contract import OutputConfig
    from batch_inference_runner.commit.manifest import Manifest
    from batch_inference_runner.plan.plan import Plan


def differences_to(present: Manifest, plan: Plan, output: OutputConfig) -> Iterator[str]:
    """Say in words what keeps the plan's rows from being added; nothing if nothing does."""
    if present.format != output.format.value:
        yield f"it is {present.format}, not {output.format.value}"
    yield from _different_columns(present.details, plan.details)
    wanted = [_level(folder_name(column, None)) for column in output.partition_by]
    for file in present.files[:1]:
        *folders, _ = file.path.split("/")
        levels = [_level(folder) for folder in folders]
        if levels != wanted:
            yield f"it is partitioned by {_shown(levels)}, not by {_shown(wanted)}"


def _different_columns(present: dict[str, Any], planned: dict[str, Any]) -> Iterator[str]:
    there, here = (list(details.get("outputColumns", ())) for details in (present, planned))
    for column in there:
        if column not in here:
            yield f"it has {column!r}, which this job does not write"
    for column in here:
        if column not in there:
            yield f"it lacks {column!r}"
    if there != here and sorted(there) == sorted(here):
        yield f"its columns are in another order, {_shown(there)}"


def _level(folder: str) -> str:
    return folder.partition("=")[0]


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"
