"""What the protocol keeps for itself, damaged: never guessed at, never tried again for ever."""

from __future__ import annotations

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_runner.commit.output import Output
from batch_inference_runner.errors import JobFailed
from testkit.commits import make_config, plan_of, stage
from testkit.faulty_store import MemoryStore

DAMAGES = {
    "nothing": b"",
    "no text": b"\xff\xfe\x00",
    "no object": b"[1]",
    "an empty object": b"{}",
    "without an end": b"[" * 100_000,
}


@pytest.mark.parametrize("of", ["claim.json", "plan.json", "000000.json"])
@pytest.mark.parametrize("body", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_object_fails_the_job_and_the_message_says_what_to_do(of, body):
    store, config = MemoryStore(), make_config()
    output = Output.open(store, config, lambda: plan_of(config))
    output.commit([stage(store, output, 0, "a")])
    (key,) = (key for key in store.objects if key.endswith(of))
    store.delete([key])
    store.put(key, body)

    with pytest.raises(JobFailed, match="release that wrote it, or") as failure:
        Output.open(store, config, lambda: plan_of(config)).committed()

    assert failure.value.reason is Reason.VERSION_SKEW
