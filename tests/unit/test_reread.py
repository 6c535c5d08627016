"""Answers of a store that were cut short are asked for again."""

from __future__ import annotations

import pytest
from obstore.exceptions import GenericError

from batch_inference_runner.storage.object_errors import as_store_failure
from batch_inference_runner.storage.reread import CutShort, read_again
from batch_inference_runner.storage.store import StoreError

CUT = "Generic S3 error: HTTP error: request or response body error"
SLOW = "Generic S3 error: Server returned error: <Code>SlowDown</Code>"


def reads(*outcomes):
    """A read that ends in one way after the other."""
    left = list(outcomes)

    def read():
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return read


def test_an_answer_that_was_cut_is_read_again():
    cut = as_store_failure(GenericError(CUT), "s3://b/k")
    pauses = []
    assert read_again(reads(cut, cut, b"whole"), pause=pauses.append) == b"whole"
    assert len(pauses) == 2


def test_an_answer_that_is_cut_each_time_is_a_failure_of_the_store():
    pauses = []
    with pytest.raises(StoreError):
        read_again(reads(*[CutShort("cut")] * 9), pause=pauses.append)
    assert len(pauses) < 9


def test_what_the_client_has_tried_again_itself_is_not_tried_once_more():
    slow = as_store_failure(GenericError(SLOW), "s3://b/k")
    with pytest.raises(StoreError, match="SlowDown"):
        read_again(reads(slow, b"never"), pause=pytest.fail)
