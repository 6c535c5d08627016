"""Every reason a BatchInferenceJob can give for its state, declared once with what it means.

The first paragraph under each says what it means, the second what to do. Together they are
`docs/reasons.md`, which `python -m batch_inference_api.crd --write` makes.

No imports beyond the standard library: scorers load this before pydantic is needed.
"""

from enum import StrEnum


class Reason(StrEnum):
    """A condition reason; the value is what users see and match on."""

    INVALID_SPEC = "InvalidSpec"
    """The manifest contradicts itself or names something that does not exist.

    Change the field that the message names; `bij schema FIELD` explains it.
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
    """The model's file is not there.

    `spec.model.storageUri` must name an `.onnx` file, or a folder with exactly one.
    """
    MODEL_DIGEST_MISMATCH = "ModelDigestMismatch"
    """The model is not the one that was pinned, or not the one that the output was planned with.

    If the new model is wanted, change `spec.model.digest`, and write to another output.
    """
    MODEL_UNSUPPORTED = "ModelUnsupported"
    """ONNX Runtime cannot load or run the model, or its inputs and outputs are no tensors of rows.

    Export the model again as the message says, with an opset that this version supports.
    """
    MODEL_UNSAFE = "ModelUnsafe"
    """The model uses something a scorer does not load, such as custom operators.

    Export it with the standard operators, and with external data beside the file.
    """
    MODEL_NOT_ROWWISE = "ModelNotRowwise"
    """A row's score depends on the rows beside it.

    Export the model so that each row is scored by itself. If single rows are scored correctly, set
    `spec.batching.batchSize: 1`.
    """
    ACCELERATOR_UNAVAILABLE = "AcceleratorUnavailable"
    """A requested execution provider is not active.

    Use an image and a node that have it, change `spec.execution.executionProviders`, or set
    `spec.execution.allowProviderFallback: true`.
    """
    OUTPUT_EXISTS = "OutputExists"
    """The output location holds a result, or files that no manifest lists.

    Use an empty location, or set `spec.output.mode` to `Overwrite` or `Append`.
    """
    OUTPUT_PATH_CLAIMED = "OutputPathClaimed"
    """Another job, or an earlier form of this one, is writing there and is not complete.

    Use another location; if that job will never go on, `bij gc OUTPUT --release` frees it.
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

    Mend the row that the message names, or set `onError` to `DeadLetter` or `Skip`.
    """
    ERROR_THRESHOLD_EXCEEDED = "ErrorThresholdExceeded"
    """More rows were rejected than the error policy allows.

    See the report's `failures` for which and why; mend the input, or raise the limit and run the
    job again: it resumes.
    """
    MAX_FAILED_SHARDS_EXCEEDED = "MaxFailedShardsExceeded"
    """More shards failed for good than the job allows.

    Remove the cause that the message gives, or raise `spec.maxFailedShards`, and run the job again:
    it resumes. The rows of a shard that failed for good are rejected.
    """
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    """The job took longer than `spec.activeDeadlineSeconds`.

    Raise the deadline or use more workers, and run the job again: it resumes.
    """
    VERSION_SKEW = "VersionSkew"
    """A plan, claim, marker or manifest was written by another release.

    Go on with the release that began, or start anew with another output.
    """
    ACCESS_DENIED = "AccessDenied"
    """A store refused the credentials.

    Correct the Secret that `secretRef` names, or the rights that it grants.
    """
    OUTPUT_VOLUME_FULL = "OutputVolumeFull"
    """The output volume has no space left.

    Make room and run the same job again: it resumes.
    """
