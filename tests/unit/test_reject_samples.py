"""A few rejected rows stand for all of them: the first ones, and one of every kind."""

from __future__ import annotations

import pyarrow as pa

from batch_inference_runner.commit.staged import choose_samples
from batch_inference_runner.score.rejects import REJECT_SCHEMA, samples_of


def rejects(messages: list[str]) -> pa.Table:
    rows = [
        {"file": "f", "row": row, "key": "k", "stage": "Bind", "error": "E", "message": message}
        for row, message in enumerate(messages)
    ]
    return pa.Table.from_pylist(rows, REJECT_SCHEMA)


def test_a_table_of_rejects_gives_the_first_and_those_with_rare_messages():
    samples = samples_of(rejects(["common"] * 1000 + ["rare"] + ["common"] * 1000 + ["rare"]))
    assert [sample["row"] for sample in samples] == [*range(20), 1000]
    assert samples[0] == {"file": "f", "row": 0, "stage": "Bind", "error": "E", "message": "common"}


def test_a_table_of_many_messages_gives_the_first_twenty():
    samples = samples_of(rejects([f"message {row}" for row in range(1000)]))
    assert [sample["row"] for sample in samples] == [*range(20)]


def test_every_kind_is_chosen_before_a_second_one_of_any():
    assert choose_samples(["a"] * 30 + ["b", "c", "b"], str) == ["a"] * 18 + ["b", "c"]
    assert choose_samples([*"abcabc"], str) == [*"abcabc"]
    assert choose_samples([*map(str, range(50))], str) == [*map(str, range(20))]
