"""Files that are not of the format that the job names, and say of which one they are."""

from __future__ import annotations

import base64

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.parquet import encryption

from batch_inference_api.choices import DataFormat
from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import InvalidJob
from testkit.datasets import Dataset, open_local, open_remote, pinned, table_of


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


class PlainKeys(encryption.KmsClient):
    """Keys that are no secret."""

    def __init__(self, _config):
        super().__init__()

    def wrap_key(self, key, _master_key):
        return base64.b64encode(key)


def write_encrypted(path, columns, *, plaintext_footer):
    properties = encryption.CryptoFactory(PlainKeys).file_encryption_properties(
        encryption.KmsConnectionConfig(),
        encryption.EncryptionConfiguration(
            footer_key="f", column_keys={"c": columns}, plaintext_footer=plaintext_footer
        ),
    )
    with pq.ParquetWriter(path, table_of(10).schema, encryption_properties=properties) as writer:
        writer.write_table(table_of(10))


@pytest.mark.parametrize("open_file", [open_local, open_remote])
@pytest.mark.parametrize(
    ("columns", "plaintext_footer"), [(["id"], True), (["x"], True), (["x"], False)]
)
def test_encrypted_parquet_is_told_as_what_it_is(tmp_path, columns, plaintext_footer, open_file):
    write_encrypted(tmp_path / "data", columns, plaintext_footer=plaintext_footer)
    data = Dataset((pinned(tmp_path / "data"),), open_file=open_file)
    with pytest.raises(InvalidJob, match="data' is encrypted Parquet"):
        data.inspect()


INT64, INT128 = b"\x01\x40\x00\x00\x00", b"\x01\x80\x00\x00\x00"
"""How a schema says that an integer is signed and has so many bits."""


def arrow_with_int128(path):
    with pa.ipc.new_file(str(path), table_of(10).schema) as writer:
        writer.write_table(table_of(10))
    path.write_bytes(path.read_bytes().replace(INT64, INT128))


def parquet_with_int128(path):
    schema = base64.b64encode(bytes(table_of(10).schema.serialize()).replace(INT64, INT128))
    with pq.ParquetWriter(path, table_of(10).schema, store_schema=False) as writer:
        writer.write_table(table_of(10))
        writer.add_key_value_metadata({"ARROW:schema": schema})


@pytest.mark.parametrize(
    ("write", "kind"),
    [(arrow_with_int128, DataFormat.ARROW), (parquet_with_int128, DataFormat.PARQUET)],
)
def test_a_type_that_is_not_supported_is_no_damage(tmp_path, write, kind):
    write(tmp_path / "data")
    with pytest.raises(InvalidJob, match=r"data' cannot be read by pyarrow \(Int") as refused:
        Dataset((pinned(tmp_path / "data"),), kind).inspect()
    assert refused.value.reason is Reason.SCHEMA_MISMATCH
    assert "write the file without that" in refused.value.message
