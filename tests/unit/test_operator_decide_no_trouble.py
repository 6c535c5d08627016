"""What is well, or was, is not called a trouble."""

from __future__ import annotations

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_operator.decide.troubles import find_trouble
from testkit.observations import (
    NOW,
    ago,
    make_ended_pod,
    make_kept_pod,
    make_pod,
    make_record,
    make_run,
    make_waiting_pod,
    make_warning,
    observe,
)

QUOTA = 'pods "churn-x" is forbidden: exceeded quota: gpu, requested: cpu=4, used: cpu=8'
MOUNT_SECRET = 'MountVolume.SetUp failed for volume "model" : secret "model-store" not found'
MOUNT_NFS = "Unable to attach or mount volumes: timed out waiting for the condition"
NO_ADDRESS = 'Failed to create pod sandbox: plugin type="calico" failed (add): no IPs available'
NO_TROUBLES = {
    "pods that run": [make_pod(), make_pod(1)],
    "a pod that starts": [make_waiting_pod(waiting_reason="ContainerCreating")],
    "a pod that its scheduler has yet to look at": [
        make_waiting_pod(awaited_scheduler="default-scheduler", created=ago(10)),
    ],
    "a pod whose gates may be removed in a moment": [
        make_waiting_pod(scheduling_gates=("kueue.x-k8s.io/topology",), created=ago(10)),
    ],
    "a pod that has just been told to go": [make_pod(deleted=ago(5), grace_seconds=10)],
    "a pod that was lost and runs again": [
        make_ended_pod(137, reason="OOMKilled"),
        make_pod(name="again", created=ago(10)),
    ],
    "a worker that has ended well, whose pod a sidecar keeps": [
        make_pod(),
        make_kept_pod(0, 99, index=1),
    ],
    "a first pod that has just succeeded beside a sidecar, whose report is not seen yet": [
        make_kept_pod(0, 5)
    ],
    "an eviction that was made good": [
        make_ended_pod(143, disruption="EvictionByEvictionAPI"),
        make_pod(name="again", created=ago(10)),
    ],
    "a first pod that has just succeeded, whose report is not seen yet": [make_ended_pod(0)],
    "a refusal of pods that are all there by now": [
        make_pod(),
        make_warning("FailedCreate", QUOTA),
    ],
    "a refusal of long ago": [make_warning("FailedCreate", QUOTA, seconds_ago=601)],
    "a network that gave an address in the end": [
        make_waiting_pod(),
        make_warning("FailedCreatePodSandBox", NO_ADDRESS, seconds_ago=180),
    ],
    "another event of the Job": [make_warning("SuccessfulDelete", "deleted pod")],
    "a mount that failed and then worked": [make_pod(), make_warning("FailedMount", MOUNT_NFS)],
    "a mount that failed three minutes ago, and what the pod waits for since then": [
        make_waiting_pod(created=ago(240)),
        make_warning("FailedMount", MOUNT_SECRET, seconds_ago=180),
    ],
    "a mount that failed ten minutes ago, after an hour of failing": [
        make_waiting_pod(created=ago(4200)),
        make_warning("FailedMount", MOUNT_SECRET, seconds_ago=600),
    ],
    "a pod of an earlier run": [make_pod(), make_ended_pod(1, run=7)],
    "a pod that failed, of an index that was scaled away": [
        make_pod(),
        make_ended_pod(137, reason="OOMKilled", index=1),
    ],
    "a pod that is evicted, of an index that was scaled away": [
        make_pod(),
        make_pod(1, deleted=ago(1), grace_seconds=10, disruption="EvictionByEvictionAPI"),
    ],
}


@pytest.mark.parametrize("parts", NO_TROUBLES.values(), ids=NO_TROUBLES)
def test_what_is_well_is_not_called_a_trouble(parts):
    assert find_trouble(make_record(), make_run(), observe(make_run(), *parts), now=NOW) is None


def test_no_event_explains_a_pod_whose_runner_has_ended_beside_a_sidecar():
    warning = make_warning("FailedMount", MOUNT_NFS)

    found = find_trouble(make_record(), make_run(), observe(make_kept_pod(1, 9), warning), now=NOW)

    assert found.reason == Reason.HEAD_FAILED


def test_silence_of_seconds_is_no_trouble():
    observation = observe(make_run(), make_pod(), unreachable_seconds=29)

    assert find_trouble(make_record(), make_run(), observation, now=NOW) is None
