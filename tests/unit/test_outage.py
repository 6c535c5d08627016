"""How long a run puts up with a store that fails."""

from __future__ import annotations

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_runner.errors import JobFailed, Unavailable
from batch_inference_runner.schedule.outage import Outage


def fail_until_given_up(outage: Outage, *, reason: str | None = None) -> float:
    """All shards in work fail ten times a second; return when the run gives up."""
    for tenths in range(36_000):
        try:
            outage.add("'s3://b/k': SlowDown", now=tenths / 10, reason=reason)
        except Unavailable:
            return tenths / 10
    pytest.fail("an hour of failures ended nothing")


def test_shards_that_fail_together_are_one_failure_and_a_minute_is_survived():
    assert 60 < fail_until_given_up(Outage()) < 300


def test_a_commit_ends_the_outage():
    outage = Outage()
    for number in range(100):
        outage.add("gone", now=100.0 * number)
        assert outage.is_pause(100.0 * number)
        outage.end()


def test_access_that_stays_denied_is_not_worth_another_run():
    with pytest.raises(JobFailed) as error:
        fail_until_given_up(Outage(), reason=Reason.ACCESS_DENIED)
    assert error.value.reason is Reason.ACCESS_DENIED
