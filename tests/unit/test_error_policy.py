"""How many rejects a job may have."""

from __future__ import annotations

import pytest

from batch_inference_api.runner_contract import ErrorPolicyConfig
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.schedule.error_policy import check_rejects


@pytest.mark.parametrize(
    ("policy", "read", "rejected", "final"),
    [
        pytest.param({}, 10, 10, True, id="no limit is the default"),
        pytest.param({"error_threshold": 5}, 10, 5, True, id="as many as the threshold"),
        pytest.param({"error_threshold": 0}, 10, 0, True, id="none, none allowed"),
        pytest.param({"max_error_rate": "0.1"}, 9_999, 9_999, False, id="too early to judge"),
        pytest.param({"max_error_rate": "0.1"}, 10, 1, True, id="exactly the rate"),
        pytest.param({"max_error_rate": "0"}, 0, 0, True, id="no rows at all"),
    ],
)
def test_a_job_goes_on(policy, read, rejected, final):
    check_rejects(ErrorPolicyConfig(**policy), rows_read=read, rows_rejected=rejected, final=final)


@pytest.mark.parametrize(
    ("policy", "read", "rejected", "final", "words"),
    [
        ({"error_threshold": 5}, 10, 6, False, "errorThreshold allows 5"),
        ({"error_threshold": 0}, 10, 1, False, "errorThreshold allows 0"),
        ({"max_error_rate": "0.1"}, 10_000, 1001, False, "share of 0.1"),
        ({"max_error_rate": "0.1"}, 10, 2, True, "share of 0.1"),
        ({"max_error_rate": "0"}, 10, 1, True, "share of 0"),
    ],
)
def test_a_job_with_too_many_rejects_fails_and_says_which_limit(
    policy, read, rejected, final, words
):
    with pytest.raises(JobFailed, match=words) as failure:
        check_rejects(
            ErrorPolicyConfig(**policy), rows_read=read, rows_rejected=rejected, final=final
        )
    assert failure.value.reason == "ErrorThresholdExceeded"
