"""Uploads that the store has lost."""

from __future__ import annotations

import pytest
from obstore.exceptions import GenericError
from obstore.store import MemoryStore

from batch_inference_runner.storage.object_sink import ObjectSink
from batch_inference_runner.storage.store import StoreError

LOST = [
    FileNotFoundError("Object at location part not found: <Code>NoSuchUpload</Code>"),
    GenericError("status code: 404 Not Found <Code>NoSuchBucket</Code>"),
]


class LosingWriter:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def write(self, _view):
        raise self._error

    def close(self):
        raise self._error


@pytest.mark.parametrize("error", LOST, ids=["the upload", "the bucket"])
@pytest.mark.parametrize("step", ["write", "commit"])
def test_what_is_written_is_never_not_found(error, step):
    sink = ObjectSink(MemoryStore(), "part", key="part", name="s3://bucket/part")
    sink._writer = LosingWriter(error)

    with pytest.raises(StoreError, match="s3://bucket/part"):
        sink.write(b"rows") if step == "write" else sink.commit()
