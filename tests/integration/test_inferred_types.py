"""Types of text come from samples; what follows the sampled rows may have fractions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from testkit.checked_runs import Result, succeed
from testkit.jobs import Job
from testkit.small_jobs import linear_job, score_of

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 6_000
"""More than the 4,096 that types are inferred from; the last row has fractions."""
LAST = ROWS - 1


def value_of(row: int) -> float:
    return row + 0.5 if row == LAST else row


def flat(row: int) -> dict[str, object]:
    return {"id": row, **dict.fromkeys("abc", value_of(row))}


def in_a_list(row: int) -> dict[str, object]:
    return {"id": row, "features": [value_of(row)] * 3}


def below_an_object(row: int) -> dict[str, object]:
    return {"id": row, "of": dict.fromkeys("abc", value_of(row))}


def csv_job(folder: Path, **fields: object) -> Job:
    job = linear_job(folder, {"input.format": "CSV", **fields}, files=0)
    lines = [",".join(map(str, flat(row).values())) for row in range(ROWS)]
    (folder / "input" / "rows.csv").write_text("\n".join(["id,a,b,c", *lines, ""]))
    return job


def json_lines_job(
    folder: Path, make: Callable[[int], dict[str, object]], columns: list[str], **fields: object
) -> Job:
    job = linear_job(folder, {"input.format": "JSONLines", **fields}, files=0)
    job.spec["model"]["inputs"][0]["columns"] = columns
    lines = [json.dumps(make(row)) + "\n" for row in range(ROWS)]
    (folder / "input" / "rows.jsonl").write_text("".join(lines))
    return job


def scores_all_rows(result: Result) -> bool:
    expected = {row: score_of(row) for row in range(LAST)} | {LAST: score_of(LAST) + 3.0}
    return result.counts["rejected"] == 0 and result.by("id") == expected


def test_a_late_fraction_is_scored_where_only_floats_take_it(tmp_path):
    assert scores_all_rows(succeed(csv_job(tmp_path)))


@pytest.mark.parametrize(
    ("make", "columns"),
    [
        (flat, ["a", "b", "c"]),
        (in_a_list, ["features"]),
        (below_an_object, ["of.a", "of.b", "of.c"]),
    ],
)
def test_so_it_is_in_json_in_lists_and_below_objects(tmp_path, make, columns):
    assert scores_all_rows(succeed(json_lines_job(tmp_path, make, columns)))


def test_a_column_that_is_written_too_keeps_its_inferred_type(tmp_path):
    result = succeed(csv_job(tmp_path, **{"output.passthroughFields": ["id", "a"]}))
    assert [(stage, error) for _, _, stage, error in result.rejected()] == [
        ("Read", "TypeMismatch")
    ]
    assert result.by("id", "a") == {row: row for row in range(LAST)}
    assert all(isinstance(value, int) for value in result.column("a"))


def test_a_column_that_a_filter_reads_too_keeps_its_inferred_type(tmp_path):
    result = succeed(csv_job(tmp_path, **{"input.filter": "a / 2 >= 0"}))
    assert result.counts == {"read": ROWS, "written": LAST, "rejected": 1, "filtered": 0}


@pytest.mark.parametrize("data_format", ["CSV", "JSONLines"])
def test_whole_numbers_of_folders_become_floats_too(tmp_path, data_format):
    job = linear_job(tmp_path, {"input.format": data_format}, files=0)
    for row in (1, 2):
        folder = tmp_path / "input" / f"a={row}"
        folder.mkdir()
        if data_format == "CSV":
            (folder / "rows.csv").write_text(f"id,b,c\n{row},{row},{row}\n")
        else:
            line = json.dumps({"id": row, "b": row, "c": row})
            (folder / "rows.jsonl").write_text(f"{line}\n")
    assert succeed(job).by("id") == {row: score_of(row) for row in (1, 2)}


def test_an_object_that_is_written_as_a_whole_keeps_its_inferred_type(tmp_path):
    written = {"output.passthroughFields": ["id", "of"]}
    job = json_lines_job(tmp_path, below_an_object, ["of.a", "of.b", "of.c"], **written)
    result = succeed(job)
    assert result.by("id", "of")[1] == {"a": 1, "b": 1, "c": 1}
    assert result.counts["rejected"] == 1
