"""Every reason a BatchInferenceJob can give for its state, declared once with what it means.

The first paragraph under each says what it means, the second what to do. Together they are
`docs/reasons.md`, which `python -m batch_inference_api.crd --write` makes.

No imports beyond the standard library: scorers load this before pydantic is needed.
"""

from enum import StrEnum


class Reason(StrEnum):
    """A condition reason; the value is what users see and match on."""

    INVALID_SPEC = "InvalidSpec"
    """The manifest contradicts itself, or names something that does not exist or cannot be used.

    Change the field that the message names, which `bij schema FIELD` explains, or the Secret's key.
    """
    SCHEMA_MISMATCH = "SchemaMismatch"
    """Columns are missing, of the wrong type, or differ between files.

    Compare the columns in the message with `spec.model.inputs`; convert one with a CAST in
    `spec.preprocessing`, or list only files of one schema.
    """
    AMBIGUOUS_COLUMN = "AmbiguousColumn"
    """Two columns differ only by case, or a name has two sources.

    Rename one of the two.
    """
    INPUT_NOT_FOUND = "InputNotFound"
    """No file matches one of `spec.input.storageUris`.

    Check the path and the glob: names that begin with `_` or `.` are not read.
    """
    INPUT_CHANGED = "InputChanged"
    """A file is no longer the one that was planned.

    Put the file back, or start anew with another output; inputs must stay as they are until the job
    is complete.
    """
    INPUT_CORRUPT = "InputCorrupt"
    """A file cannot be read at all: its footer or its first bytes are not what its format demands.

    Write the file again, take it out of the input, or correct `spec.input.format`.
    """
    MODEL_NOT_FOUND = "ModelNotFound"
    """The model's file is not there, or its external data.

    `spec.model.storageUri` must name an `.onnx` file, or a folder with exactly one; external data
    must lie beside it.
    """
    MODEL_DIGEST_MISMATCH = "ModelDigestMismatch"
    """The model is not the one that was pinned, or not the one that the output was planned with.

    If the new model is wanted, change `spec.model.digest`, and write to another output.
    """
    MODEL_UNSUPPORTED = "ModelUnsupported"
    """ONNX Runtime cannot load or run the model, its inputs or outputs are not tensors with one
    entry per row, or it gives the same row other scores each time.

    Export the model again as the message says, with an opset that this version supports.
    """
    OUT_OF_MEMORY = "OutOfMemory"
    """The model or a shard needs more memory than a scorer has, or scorers were killed again and
    again before they could score, as the kernel does when memory runs out.

    Raise `spec.workers.resources.limits.memory`, or lower `spec.batching.batchSize`, and run the
    job again: it resumes.
    """
    MODEL_UNSAFE = "ModelUnsafe"
    """The model uses something a scorer does not load, such as custom operators.

    Export it with the standard operators, and with external data beside the file.
    """
    MODEL_NOT_ROWWISE = "ModelNotRowwise"
    """A row's score depends on the rows beside it.

    Export the model so that each row is scored by itself, quantized statically (QDQ) if at all. If
    single rows are scored correctly, set `spec.batching.batchSize: 1`.
    """
    ACCELERATOR_UNAVAILABLE = "AcceleratorUnavailable"
    """A requested execution provider is not active.

    Use an image and a node that have it, change `spec.execution.executionProviders`, or set
    `spec.execution.allowProviderFallback: true`.
    """
    OUTPUT_EXISTS = "OutputExists"
    """The output location holds another result, files that no manifest lists, or a result
    without some of its files.

    Use an empty location, or set `spec.output.mode` to `Overwrite` or `Append`.
    """
    OUTPUT_PATH_CLAIMED = "OutputPathClaimed"
    """Another job, or an earlier form of this one, is writing there and is not complete.

    Use another location. If that job will never go on, `bij gc OUTPUT --release` frees this one,
    and deletes everything that the job has committed there.
    """
    OUTPUT_STORE_UNSAFE = "OutputStoreUnsafe"
    """The store cannot promise that exactly one of several writers wins.

    Write to a store that honours conditional writes, or update the one that does not.
    """
    ROW_COUNT_MISMATCH = "RowCountMismatch"
    """Rows read, written, rejected and filtered do not add up.

    Nothing wrong is published. Check that the input is not being written to; report it as a bug if
    the message says so.
    """
    ROW_REJECTED = "RowRejected"
    """A row failed and `spec.errorPolicy.onError` is `Fail`.

    Correct the row that the message names, or set `onError` to `DeadLetter` or `Skip`; both start
    anew with another output.
    """
    ERROR_THRESHOLD_EXCEEDED = "ErrorThresholdExceeded"
    """More rows were rejected than the error policy allows.

    See the report's `failures` for which and why. Raise the limit and run the job again: it
    resumes. Or correct the input and start anew with another output.
    """
    MAX_FAILED_SHARDS_EXCEEDED = "MaxFailedShardsExceeded"
    """More shards failed for good than the job allows.

    Remove the cause that the message gives, or raise `spec.maxFailedShards`, and run the job again:
    it resumes. The rows of shards that may fail are rejected.
    """
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    """The job took longer than `spec.activeDeadlineSeconds`.

    Raise the deadline or use more workers, and run the job again: it resumes.
    """
    VERSION_SKEW = "VersionSkew"
    """A pod's config or its report, or a plan, claim, marker or manifest was written by another
    release.

    Go on with the release that began, operator and runner image alike, or start anew with another
    output.
    """
    ACCESS_DENIED = "AccessDenied"
    """A store refused the credentials.

    Correct the Secret that `secretRef` names, or the rights that it grants, and run the job again:
    it resumes.
    """
    OUTPUT_VOLUME_FULL = "OutputVolumeFull"
    """The output volume has no space left.

    Make room and run the job again: it resumes.
    """
    BACKOFF_LIMIT_EXCEEDED = "BackoffLimitExceeded"
    """More pods failed than `spec.backoffLimit` allows.

    Read why in the message and with `kubectl bij logs`; give the pods more memory if they ran out
    of it, or raise `spec.backoffLimit`. Then run the job again: it resumes.
    """
    PRE_RUNNING_DEADLINE_EXCEEDED = "PreRunningDeadlineExceeded"
    """The pods had not begun to score within `spec.preRunningDeadlineSeconds`.

    The message says what they waited for: correct that, or allow more time, and run the job again:
    it resumes.
    """
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    """No row was scored for `spec.progressDeadlineSeconds`.

    Repair the store or the model that hangs, or allow more time, and run the job again: it resumes.
    Its pods were ended, and their logs are gone unless they are collected: follow the next run with
    `kubectl bij logs -f`.
    """
    REPORT_MISSING = "ReportMissing"
    """The pods of several runs ended without a report of how.

    Look for what deletes or ends pods: evictions, an admission policy, a failing node; or keeps
    them after their end, as an ordinary sidecar does.
    """
    NOT_ALLOWED = "NotAllowed"
    """The job uses an image, a ServiceAccount or a URI scheme that this cluster does not allow.

    Use an allowed one, or ask the platform team to allow it in the operator's settings.
    """
    IMAGE_PULL_FAILED = "ImagePullFailed"
    """The image of the runner cannot be pulled.

    Correct `spec.workers.image` or `imagePullSecrets`; the pods start as soon as it can. Pods that
    name a Secret, their job's or one of the platform's `runner.imagePullSecrets`, are not given
    those of their ServiceAccount.
    """
    UNSCHEDULABLE = "Unschedulable"
    """The scheduler finds no node for a pod, has not looked at it, or must not yet.

    Ask for less, correct `nodeSelector`, `affinity` and `tolerations`, or add nodes. Where the
    message is about a scheduler or a gate, it says what to do instead.
    """
    SCALED_TO_ZERO = "ScaledToZero"
    """Somebody has set the number of pods of the run's Job to 0.

    Set `spec.parallelism` of the Job back to the number in the message, or suspend the job and
    resume it.
    """
    QUOTA_EXCEEDED = "QuotaExceeded"
    """The namespace's quota leaves no room for the pods, or counts a limit that they do not have.

    Ask for less or raise the quota; the pods start as soon as there is room. If the quota counts
    CPU limits, suspend the job, set `spec.workers.resources.limits.cpu`, and resume it; or give the
    namespace a LimitRange with a default.
    """
    POD_FORBIDDEN = "PodForbidden"
    """The cluster's policies refuse the pods, or the Job or another object of the run.

    Change what the message names, or ask the platform team.
    """
    ADMISSION_UNAVAILABLE = "AdmissionUnavailable"
    """An admission webhook that has a say in the run's objects does not answer.

    Nothing is wrong with the job: it goes on as soon as the webhook answers. The message names it:
    ask the platform team to repair the service behind it.
    """
    NAME_TAKEN = "NameTaken"
    """A Job of somebody else has the name that the job's next run would have.

    Delete the Job that the message names, and the run begins within a minute; or delete this job
    and apply it again, and its runs have other names.
    """
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - no secret
    """A Secret that the pods need is not there, or lacks a key.

    Create it in the job's namespace; the pods start as soon as it is there.
    """
    CONFIG_MAP_NOT_FOUND = "ConfigMapNotFound"
    """A ConfigMap that the pods need is not there, or lacks a key.

    Create it in the job's namespace; the pods start as soon as it is there.
    """
    VOLUME_NOT_READY = "VolumeNotReady"
    """A volume of the pods cannot be mounted, or its claim is not there.

    Create the PersistentVolumeClaim in the job's namespace; see the message for what it lacks.
    """
    SERVICE_ACCOUNT_NOT_FOUND = "ServiceAccountNotFound"
    """The ServiceAccount of the pods is not there.

    Create it in the job's namespace, or correct `spec.workers.serviceAccountName`.
    """
    POD_REJECTED = "PodRejected"
    """A node refused a pod that was assigned to it, for instance because it lacks a device.

    Pods are replaced; look at the node and its device plugin if it goes on.
    """
    CONTAINER_CANNOT_RUN = "ContainerCannotRun"
    """The runner's container, its network, or a container that a webhook has added cannot be
    started.

    Use an image of the runner that belongs to this operator's release; where the message is about
    the node or another container, ask the platform team.
    """
    HEAD_OOM_KILLED = "HeadOOMKilled"
    """The first pod, which leads the run, ran out of memory and is replaced.

    Suspend the job, raise `spec.workers.resources.limits.memory`, and resume it; or run it again
    with a lower `spec.batching.batchSize`.
    """
    WORKER_OOM_KILLED = "WorkerOOMKilled"
    """A pod ran out of memory and is replaced.

    Suspend the job, raise `spec.workers.resources.limits.memory`, and resume it; or run it again
    with a lower `spec.batching.batchSize`.
    """
    HEAD_DISRUPTED = "HeadDisrupted"
    """The first pod was evicted, preempted or drained, and is replaced.

    Nothing: what is committed stays, and disruptions are not counted.
    """
    WORKER_DISRUPTED = "WorkerDisrupted"
    """A pod was evicted, preempted or drained, and is replaced.

    Nothing: its shards are scored by others.
    """
    HEAD_FAILED = "HeadFailed"
    """The first pod, which leads the run, failed and is replaced.

    Look at the message and the logs if it goes on.
    """
    WORKER_FAILED = "WorkerFailed"
    """A pod failed and is replaced.

    Look at the message and the logs if it goes on.
    """
    HEAD_UNRESPONSIVE = "HeadUnresponsive"
    """The first pod runs but does not say how far it is.

    Wait: it is restarted if it hangs. Check that network policies let the operator reach it.
    """
    NODE_LOST = "NodeLost"
    """The node of a pod does not answer.

    Nothing: the run goes on elsewhere once the pod is certainly gone or fenced off.
    """
