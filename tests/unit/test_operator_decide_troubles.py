# ruff: noqa: E501 - one line for each case reads better than wrapped messages
"""What keeps pods from scoring, in words that say what to do."""

from __future__ import annotations

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import RunPhase
from batch_inference_operator.decide.scene import Trouble, Wait
from batch_inference_operator.decide.troubles import find_trouble
from batch_inference_operator.observation import Refusal, RunPod
from testkit.observations import (
    NOW,
    ago,
    make_ended_pod,
    make_kept_pod,
    make_pod,
    make_record,
    make_report,
    make_run,
    make_waiting_pod,
    make_warning,
    named_run,
    observe,
    plan_for,
    true_conditions,
    why,
)

NO_LIMIT = 'pods "churn-x" is forbidden: failed quota: cpu: must specify limits.cpu for: runner'
WEBHOOK_AWAY = 'Internal error occurred: failed calling webhook "injector": EOF'
QUOTA = 'pods "churn-x" is forbidden: exceeded quota: gpu, requested: cpu=4, used: cpu=8, limited: cpu=8'
SECURITY = 'pods "churn-x" is forbidden: violates PodSecurity "restricted:latest"'
ACCOUNT = 'pods "churn-x" is forbidden: error looking up service account scoring/scorer: serviceaccount "scorer" not found'
LIMIT_RANGE = (
    'pods "churn-x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi'
)
AS_ROOT = 'container has runAsNonRoot and image will run as root (pod: "secret-churn-0_scoring(7d)", container: runner)'
DENIED = 'Error creating: admission webhook "labels.example.com" denied the request: no team'
BROKEN = 'Error creating: Pod "churn-x" is invalid: spec.containers[1].image: Required value'
SERVER_AWAY = "Error creating: stream error: stream ID 3; INTERNAL_ERROR; received from peer"
NO_NODE = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
NO_CLAIM = 'persistentvolumeclaim "models" not found'
MOUNT_SECRET = (
    'MountVolume.SetUp failed for volume "bij-secret-model" : secret "model-store" not found'
)
MOUNT_MAP = 'MountVolume.SetUp failed for volume "extra" : configmap "extra" not found'
MOUNT_NFS = "Unable to attach or mount volumes: timed out waiting for the condition"
NO_ADDRESS = 'Failed to create pod sandbox: plugin type="calico" failed (add): no IPs available'
KEPT = "another container keeps its pod, which is not replaced: inject sidecars as native ones or not at all"
SKEW = "runner contract version 2 is not supported: this package speaks version 1; use an operator and a runner image of one release"
MEMORY = {"spec.workers.resources": {"limits": {"memory": "8Gi"}}}


def waiting(reason: str, message: str = "what the kubelet says", **changes: str):
    return make_waiting_pod(waiting_reason=reason, waiting_message=message, **changes)


def run_of(parts: list[object]):
    """A run that wants the pods among the parts, and no more."""
    indexes = [part.index for part in parts if isinstance(part, RunPod)]
    return make_run(parallelism=1 + max(indexes, default=0))


TROUBLES = {
    "the API server refuses an object of the run": (
        [Refusal(reason=Reason.POD_FORBIDDEN, message="secrets is forbidden")],
        Reason.POD_FORBIDDEN, "secrets is forbidden",
    ),
    "an image cannot be pulled": (
        [waiting("ErrImagePull")],
        Reason.IMAGE_PULL_FAILED, "pod churn-run-1-0: ErrImagePull: what the kubelet says; correct spec.workers.image or imagePullSecrets, or ask the platform team",
    ),
    "an image cannot be pulled for a while": (
        [waiting("ImagePullBackOff", "Back-off pulling image")],
        Reason.IMAGE_PULL_FAILED, "pod churn-run-1-0: ImagePullBackOff: Back-off pulling image; correct spec.workers.image or imagePullSecrets, or ask the platform team",
    ),
    "an image cannot be looked at": ([waiting("ImageInspectError")], Reason.IMAGE_PULL_FAILED, None),
    "a registry is away": ([waiting("RegistryUnavailable")], Reason.IMAGE_PULL_FAILED, None),
    "an image is not signed": ([waiting("SignatureValidationFailed")], Reason.IMAGE_PULL_FAILED, None),
    "the image of a container that a webhook has added cannot be pulled": (
        [waiting("ImagePullBackOff", "Back-off pulling image", waiting_container="agent")],
        Reason.IMAGE_PULL_FAILED, "pod churn-run-1-0, init container agent: ImagePullBackOff: Back-off pulling image; ask the platform team, whose webhook has added this container",
    ),
    "a container that a webhook has added lacks a Secret": (
        [waiting("CreateContainerConfigError", 'secret "s" not found', waiting_container="agent")],
        Reason.SECRET_NOT_FOUND, 'pod churn-run-1-0, init container agent: secret "s" not found; the pod starts when it is there',
    ),
    "a container that a webhook has added ends again and again": (
        [waiting("CrashLoopBackOff", "back-off 10s", waiting_container="agent")],
        Reason.CONTAINER_CANNOT_RUN, "pod churn-run-1-0, init container agent: CrashLoopBackOff: back-off 10s; ask the platform team, whose webhook has added this container",
    ),
    "the network gives a pod no address": (
        [make_waiting_pod(), make_warning("FailedCreatePodSandBox", NO_ADDRESS)],
        Reason.CONTAINER_CANNOT_RUN, f"{NO_ADDRESS}; the node tries again: ask the platform team if it goes on",
    ),
    "an image has no valid name": ([waiting("InvalidImageName")], Reason.IMAGE_PULL_FAILED, None),
    "an image may not be pulled": ([waiting("ErrImageNeverPull")], Reason.IMAGE_PULL_FAILED, None),
    "a Secret is missing": (
        [waiting("CreateContainerConfigError", 'secret "s" not found')],
        Reason.SECRET_NOT_FOUND, 'pod churn-run-1-0: secret "s" not found; the pod starts when it is there',
    ),
    "a key of a Secret is missing": (
        [waiting("CreateContainerConfigError", "couldn't find key K in Secret scoring/s")],
        Reason.SECRET_NOT_FOUND, "pod churn-run-1-0: couldn't find key K in Secret scoring/s; the pod starts when it is there",
    ),
    "a key of a ConfigMap is missing": (
        [waiting("CreateContainerConfigError", "couldn't find key K in ConfigMap scoring/secret")],
        Reason.CONFIG_MAP_NOT_FOUND, None,
    ),
    "a ConfigMap is missing": (
        [waiting("CreateContainerConfigError", 'configmap "c" not found')],
        Reason.CONFIG_MAP_NOT_FOUND, 'pod churn-run-1-0: configmap "c" not found; the pod starts when it is there',
    ),
    "a container cannot be created": (
        [waiting("CreateContainerError", "no command specified")],
        Reason.CONTAINER_CANNOT_RUN, "pod churn-run-1-0: CreateContainerError: no command specified; use a runner image of the operator's release",
    ),
    "an image would run as root": (
        [waiting("CreateContainerConfigError", AS_ROOT)],
        Reason.CONTAINER_CANNOT_RUN, f"pod churn-run-1-0: CreateContainerConfigError: {AS_ROOT}; use a runner image of the operator's release",
    ),
    "a folder of a volume that is called secret cannot be made": (
        [waiting("CreateContainerConfigError", 'failed to prepare subPath for volumeMount "secret"')],
        Reason.CONTAINER_CANNOT_RUN, None,
    ),
    "a Secret is not known to the node yet": (
        [waiting("CreateContainerConfigError", "failed to sync secret cache: timed out")],
        Reason.SECRET_NOT_FOUND, None,
    ),
    "a container cannot be run": ([waiting("RunContainerError")], Reason.CONTAINER_CANNOT_RUN, None),
    "a container cannot be started": ([waiting("StartError")], Reason.CONTAINER_CANNOT_RUN, None),
    "the quota leaves no room": (
        [make_warning("FailedCreate", QUOTA)],
        Reason.QUOTA_EXCEEDED, f"{QUOTA}; the pods start as soon as there is room",
    ),
    "the webhook that admits pods is away": (
        [make_warning("FailedCreate", WEBHOOK_AWAY)], Reason.ADMISSION_UNAVAILABLE, WEBHOOK_AWAY,
    ),
    "the quota counts a limit that the pods do not have": (
        [make_warning("FailedCreate", NO_LIMIT)],
        Reason.QUOTA_EXCEEDED, f"{NO_LIMIT}; suspend the job, add it to spec.workers.resources, and resume it, or let a LimitRange of the namespace give a default",
    ),
    "the quota leaves no room for the pod that replaces a failed one": (
        [make_ended_pod(1), make_warning("FailedCreate", QUOTA)],
        Reason.QUOTA_EXCEEDED, f"{QUOTA}; the pods start as soon as there is room",
    ),
    "the quota leaves no room in the very second in which another pod was made": (
        [make_ended_pod(1), make_warning("FailedCreate", QUOTA, seconds_ago=60)],
        Reason.QUOTA_EXCEEDED, None,
    ),
    "the first pod ran out of memory, long after the quota had left no room for it": (
        [
            make_ended_pod(137, reason="OOMKilled"),
            make_warning("FailedCreate", QUOTA, seconds_ago=61),
        ],
        Reason.HEAD_OOM_KILLED, None,
    ),
    "Pod Security refuses the pods": ([make_warning("FailedCreate", SECURITY)], Reason.POD_FORBIDDEN, SECURITY),
    "a LimitRange refuses the pods": ([make_warning("FailedCreate", LIMIT_RANGE)], Reason.POD_FORBIDDEN, LIMIT_RANGE),
    "the ServiceAccount is missing": ([make_warning("FailedCreate", ACCOUNT)], Reason.SERVICE_ACCOUNT_NOT_FOUND, ACCOUNT),
    "a webhook denies the pods": ([make_warning("FailedCreate", DENIED)], Reason.POD_FORBIDDEN, DENIED),
    "a webhook has made pods of no use": ([make_warning("FailedCreate", BROKEN)], Reason.POD_FORBIDDEN, BROKEN),
    "the API server did not create a pod": (
        [make_warning("FailedCreate", SERVER_AWAY)],
        Wait.FOR_SERVER, f"{SERVER_AWAY}; the Job controller tries again",
    ),
    "a quota, and then the API server, did not let a pod be": (
        [make_warning("FailedCreate", SERVER_AWAY), make_warning("FailedCreate", QUOTA, seconds_ago=9)],
        Reason.QUOTA_EXCEEDED, None,
    ),
    "a claim is missing": (
        [make_waiting_pod(unscheduled_message=NO_CLAIM)],
        Reason.VOLUME_NOT_READY, f"pod churn-run-1-0: {NO_CLAIM}",
    ),
    "a Secret that is a volume is missing": (
        [make_waiting_pod(), make_warning("FailedMount", MOUNT_SECRET)],
        Reason.SECRET_NOT_FOUND, 'secret "model-store" not found: create it, and the pods start by themselves',
    ),
    "a Secret that is a volume was missing at the last try": (
        [make_waiting_pod(created=ago(240)), make_warning("FailedMount", MOUNT_SECRET, seconds_ago=179)],
        Reason.SECRET_NOT_FOUND, None,
    ),
    "a Secret that is a volume has been missing for so long that few of the tries are told": (
        [make_waiting_pod(created=ago(4200)), make_warning("FailedMount", MOUNT_SECRET, seconds_ago=599)],
        Reason.SECRET_NOT_FOUND, None,
    ),
    "a ConfigMap that is a volume is missing": (
        [make_waiting_pod(), make_warning("FailedMount", MOUNT_MAP)],
        Reason.CONFIG_MAP_NOT_FOUND, 'configmap "extra" not found: create it, and the pods start by themselves',
    ),
    "a volume cannot be mounted": (
        [make_waiting_pod(), make_warning("FailedMount", MOUNT_NFS)],
        Reason.VOLUME_NOT_READY, MOUNT_NFS,
    ),
    "a volume cannot be attached": (
        [make_waiting_pod(), make_warning("FailedAttachVolume", "Multi-Attach error")],
        Reason.VOLUME_NOT_READY, "Multi-Attach error",
    ),
    "there is no node": (
        [make_waiting_pod(unscheduled_message=NO_NODE)],
        Reason.UNSCHEDULABLE, f"no node for 1 of 1 pods: {NO_NODE}",
    ),
    "a node drives the first pod away, as before maintenance or the end of a spot instance": (
        [make_pod(deleted=ago(15), grace_seconds=10, disruption="DeletionByTaintManager")],
        Reason.HEAD_DISRUPTED, "pod churn-run-1-0 is replaced (DeletionByTaintManager); what is committed stays",
    ),
    "a node drives a worker away": (
        [make_pod(), make_pod(1, deleted=ago(5), grace_seconds=10, disruption="DeletionByTaintManager")],
        Reason.WORKER_DISRUPTED, None,
    ),
    "a node is lost, and Kubernetes drives the first pod away": (
        [make_pod(deleted=ago(16), grace_seconds=10, disruption="DeletionByTaintManager")],
        Reason.NODE_LOST, "node node-a of pod churn-run-1-0 does not answer; the next run begins when the pod is gone or fenced off",
    ),
    "the node of the first pod is lost": (
        [make_pod(deleted=ago(41), grace_seconds=10, node=None)],
        Reason.NODE_LOST, "node unknown of pod churn-run-1-0 does not answer; the next run begins when the pod is gone or fenced off",
    ),
    "the node of a worker is lost": (
        [make_pod(), make_pod(1, deleted=ago(41), grace_seconds=10)],
        Reason.NODE_LOST, "node node-a of pod churn-run-1-1 does not answer; its shards are scored by others",
    ),
    "the first pod ran out of memory": (
        [make_ended_pod(137, reason="OOMKilled")],
        Reason.HEAD_OOM_KILLED, "pod churn-run-1-0 was killed because it ran out of memory (its limit is 8Gi): suspend the job, raise spec.workers.resources.limits.memory, and resume it",
    ),
    "the first pod was killed": (
        [make_ended_pod(137, reason="Error")],
        Reason.HEAD_FAILED, "pod churn-run-1-0 ended with exit code 137: killed, as when it hangs, or when its node runs short of memory; it is replaced",
    ),
    "nobody knows how the first pod ended": (
        [make_ended_pod(137, reason="ContainerStatusUnknown", message="it could not be located")],
        Reason.HEAD_FAILED, "pod churn-run-1-0 ended with exit code 137 (ContainerStatusUnknown): it could not be located; it is replaced",
    ),
    "a worker ran out of memory": (
        [make_pod(), make_ended_pod(1, reason="OOMKilled", index=1)],
        Reason.WORKER_OOM_KILLED, "pod churn-run-1-1 was killed because it ran out of memory (its limit is 8Gi): suspend the job, raise spec.workers.resources.limits.memory, and resume it",
    ),
    "a worker ran out of memory, and a sidecar keeps its pod": (
        [make_pod(), make_kept_pod(137, 31, index=1, reason="OOMKilled")],
        Reason.WORKER_OOM_KILLED, f"pod churn-run-1-1 was killed because it ran out of memory (its limit is 8Gi): suspend the job, raise spec.workers.resources.limits.memory, and resume it; {KEPT}",
    ),
    "a worker failed, and a sidecar keeps its pod": (
        [make_pod(), make_kept_pod(1, 31, index=1)],
        Reason.WORKER_FAILED, f"pod churn-run-1-1 ended with exit code 1; {KEPT}",
    ),
    "a worker failed, and its pod's native sidecars end": (
        [make_pod(), make_kept_pod(1, 30, index=1)],
        Reason.WORKER_FAILED, "pod churn-run-1-1 ended with exit code 1; it is replaced",
    ),
    "the first pod ran out of memory, beside a sidecar": (
        [make_kept_pod(137, 1, reason="OOMKilled")],
        Reason.HEAD_OOM_KILLED, None,
    ),
    "a sidecar's pod is evicted once its runner has failed": (
        [make_pod(), make_kept_pod(1, 99, index=1, deleted=ago(1), disruption="EvictionByEvictionAPI")],
        Reason.WORKER_DISRUPTED, None,
    ),
    "the first pod is evicted": (
        [make_pod(deleted=ago(1), grace_seconds=10, disruption="EvictionByEvictionAPI")],
        Reason.HEAD_DISRUPTED, "pod churn-run-1-0 is replaced (EvictionByEvictionAPI); what is committed stays",
    ),
    "the first pod was preempted, and ended": (
        [make_ended_pod(143, disruption="PreemptionByScheduler")],
        Reason.HEAD_DISRUPTED, "pod churn-run-1-0 is replaced (PreemptionByScheduler); what is committed stays",
    ),
    "a worker was evicted": (
        [make_pod(), make_ended_pod(143, disruption="TerminationByKubelet", index=1)],
        Reason.WORKER_DISRUPTED, "pod churn-run-1-1 is replaced (TerminationByKubelet); what is committed stays",
    ),
    "a node refused a pod": (
        [make_waiting_pod(phase="Failed", failure_reason="UnexpectedAdmissionError", failure_message="no GPU is healthy")],
        Reason.POD_REJECTED, "pod churn-run-1-0: UnexpectedAdmissionError: no GPU is healthy",
    ),
    "the first pod failed": (
        [make_ended_pod(1, message="store away")],
        Reason.HEAD_FAILED, "pod churn-run-1-0 ended with exit code 1: store away; it is replaced",
    ),
    "a worker failed": (
        [make_pod(), make_ended_pod(1, index=1)],
        Reason.WORKER_FAILED, "pod churn-run-1-1 ended with exit code 1; it is replaced",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("parts", "reason", "message"), TROUBLES.values(), ids=TROUBLES)
def test_what_is_wrong_is_said_with_its_reason(parts, reason, message):
    run = run_of(parts)

    found = find_trouble(make_record(MEMORY), run, observe(run, *parts), now=NOW)

    assert found is not None
    assert found.reason == reason
    assert message is None or found.message == message


def test_a_silent_first_pod_is_said_to_be_unresponsive_and_stays():
    record = make_record(status={"run": named_run()})

    silent = observe(
        make_run(), make_pod(), unreachable_seconds=3600, poll_failure="it answered 404"
    )

    plan = plan_for(record, silent)

    assert plan.actions == ()
    assert why(plan.status) == (
        Reason.HEAD_UNRESPONSIVE,
        "the first pod runs but does not tell its progress: it answered 404; it is restarted if it hangs, and goes on scoring if only the operator cannot reach it",
    )


def test_a_first_pod_of_another_release_is_said_to_be_one_at_once():
    observation = observe(make_run(), make_pod(), poll_failure=SKEW, is_poll_skewed=True)

    plan = plan_for(make_record(status={"run": named_run()}), observation)

    assert plan.actions == ()
    assert why(plan.status) == (
        Reason.VERSION_SKEW,
        f"this operator cannot read the first pod's report: {SKEW}; until then the run goes on, and its progress is not known",
    )


def test_a_first_pod_of_another_release_is_not_called_silent():
    observation = observe(
        make_run(), make_pod(), unreachable_seconds=3600, poll_failure=SKEW, is_poll_skewed=True
    )

    found = find_trouble(make_record(), make_run(), observation, now=NOW)

    assert found.reason == Reason.VERSION_SKEW


def test_a_run_that_a_queue_holds_back_has_no_trouble_with_pods_that_were_preempted():
    run = make_run(suspended=True)
    preempted = make_ended_pod(143, disruption="PreemptionByScheduler")

    assert find_trouble(make_record(), run, observe(run, preempted), now=NOW) is None


def test_a_run_that_a_queue_holds_back_may_have_been_refused_what_it_needs():
    run = make_run(suspended=True)
    refusal = Refusal(reason=Reason.QUOTA_EXCEEDED, message="exceeded quota: secrets")

    assert find_trouble(make_record(), run, observe(run, refusal), now=NOW) == Trouble(
        reason=Reason.QUOTA_EXCEEDED, message="exceeded quota: secrets"
    )


def test_the_memory_hint_names_no_limit_where_the_job_names_none():
    observation = observe(make_ended_pod(137, reason="OOMKilled"))

    found = find_trouble(make_record(), make_run(), observation, now=NOW)

    assert (
        "because it ran out of memory: suspend the job, raise spec.workers.resources.limits.memory"
        in found.message
    )


def test_the_first_pod_is_told_of_before_workers():
    observation = observe(make_ended_pod(1, index=1), make_ended_pod(1))

    found = find_trouble(make_record(), make_run(parallelism=2), observation, now=NOW)

    assert found.reason == Reason.HEAD_FAILED


def test_a_trouble_leaves_the_job_in_progress_and_its_pods_alone():
    record = make_record(status={"run": named_run()})

    plan = plan_for(record, observe(make_run(), waiting("ImagePullBackOff")))

    assert plan.actions == ()
    assert plan.status.phase == "Pending"
    assert true_conditions(plan.status) == {"Reconciling"}


def test_a_worker_in_trouble_leaves_the_phase_of_a_run_that_scores():
    run = make_run(parallelism=2, applied_workers=2)
    observation = observe(
        run, make_pod(), make_ended_pod(1, index=1), make_report(RunPhase.RUNNING)
    )

    plan = plan_for(make_record({"spec.workers.replicas": 2}), observation)

    assert plan.status.phase == "Running"
    assert why(plan.status)[0] == Reason.WORKER_FAILED
