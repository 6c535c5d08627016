"""Keys in text keep every digit, so that no two of them become one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batch_inference_api.choices import DataFormat
from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob
from testkit.datasets import (
    Dataset,
    open_local,
    open_remote,
    pinned,
    rejected,
    rows_of,
    write_text,
)


@pytest.fixture(params=[open_local, open_remote], ids=["mapped", "by ranges"])
def dataset(request, tmp_path):
    def make(data_format, text, *, key=None):
        file = pinned(write_text(tmp_path / "a", text))
        return Dataset((file,), data_format, open_file=request.param, key=key)

    return make


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        (["0", "-7", "", "9223372036854775807"], "int64"),
        (["", ""], "string"),
        (["12000", "12E3"], "string"),
        (["12345678901234567.89", "12345678901234567.88"], "string"),
        (["1", "+491511"], "string"),
        (["1", "-0"], "string"),
        (["1", "NA", "nan"], "string"),
        (["1", '""'], "string"),
        (["true", "True"], "string"),
        (["1"] * 99 + ["9223372036854775808"], "string"),
        (["1"] * 99 + ["oops"], "string"),
    ],
)
def test_a_key_is_text_unless_whole_numbers_say_the_same(dataset, keys, kind):
    data = dataset(DataFormat.CSV, "k,v\n" + "".join(f"{key},0\n" for key in keys), key="k")
    assert str(data.inspect().schema.field("k").type) == kind
    names = [key.strip('"') if key else None for key in keys]
    read = [row["k"] for row in rows_of(data.read())]
    assert [None if name is None else str(name) for name in read] == names


@pytest.mark.parametrize("key", ["007", "+7", "7.0", "0x7", "7e0", " 7", "NA", '""', "-0", "x"])
def test_a_late_key_that_is_written_otherwise_is_rejected(dataset, key):
    data = dataset(DataFormat.CSV, "k,v\n" + "7,1\n" * 4096 + f"{key},2\n,3\n-7,4\n", key="k")
    chunks = data.read()
    assert rows_of(chunks)[4096:] == [{"k": None, "v": 3}, {"k": -7, "v": 4}]
    assert rejected(chunks) == [(4 + 4 * 4096, "TypeMismatch")]


@pytest.mark.parametrize("values", [["18446744073709551616"], ["9007199254740993", "1.5"]])
def test_a_key_that_would_lose_digits_is_refused(dataset, values):
    lines = (f'{{"v": {value}, "of": {{"v": {value}}}}}\n' for value in values)
    data = dataset(DataFormat.JSON_LINES, "".join(lines))
    for key in ("v", "of.v"):
        with pytest.raises(InvalidJob, match=f"keyField names {key!r}") as refused:
            replace(data, key=key).inspect()
        assert refused.value.reason is Reason.SCHEMA_MISMATCH
    assert str(data.inspect().schema.field("v").type) == "double"
