"""Files that are not of the format that the job names, and say of which one they are."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_inference_api.choices import DataFormat
from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob
from testkit.datasets import Dataset, pinned, table_of


def parquet(path):
    pq.write_table(table_of(10), path)


def arrow_file(path):
    with pa.ipc.new_file(str(path), table_of(10).schema) as writer:
        writer.write_table(table_of(10))


def half_a_parquet(path):
    parquet(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("write", "wanted", "says"),
    [
        (arrow_file, DataFormat.PARQUET, "set spec.input.format to Arrow"),
        (parquet, DataFormat.ARROW, "set spec.input.format to Parquet"),
        (lambda path: path.write_text("id,x\n1,2\n"), DataFormat.PARQUET, "if it is CSV"),
        (lambda path: path.write_text('{"größe": 1}'), DataFormat.ARROW, "or JSON Lines"),
        (half_a_parquet, DataFormat.PARQUET, "write it again"),
        (lambda path: path.write_bytes(b""), DataFormat.ARROW, "write it again"),
    ],
)
def test_a_file_of_another_format_is_told_as_what_it_is(tmp_path, write, wanted, says):
    write(tmp_path / "data")
    with pytest.raises(InvalidJob, match=f"data' is not a readable {wanted} file; .*") as refused:
        Dataset((pinned(tmp_path / "data"),), wanted).inspect()
    assert refused.value.reason is Reason.INPUT_CORRUPT
    assert says in refused.value.message
