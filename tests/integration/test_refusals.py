"""Every reason that a run gives: its exit code, what it names, and what it says to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_inference_api.reasons import Reason
from batch_inference_runner.commit.staged import StagedShard
from batch_inference_runner.errors import ExitCode
from batch_inference_runner.storage.folder import Folder
from batch_inference_runner.storage.store import AccessDenied, VolumeFull
from testkit import onnx_models
from testkit.in_process import bij, run, validate
from testkit.jobs import Ended, Job
from testkit.small_jobs import column_job, job_over, linear_job, set_fields, small_table


@dataclass(frozen=True)
class Refusal:
    """How to make a job that is refused, and what its message must hold."""

    make: Callable[[Path], Job]
    says: tuple[str, ...]
    code: ExitCode = ExitCode.INVALID


def check(ended: Ended, reason: Reason, says: tuple[str, ...], code: ExitCode) -> None:
    found, _, message = ended.message.partition(": ")
    assert (found, ended.code) == (reason.value, code), ended.message
    for words in says:
        assert words in message


def with_input(folder: Path, table: pa.Table) -> Job:
    job = linear_job(folder)
    pq.write_table(table, folder / "input" / "0.parquet")
    return job


def with_corrupt_input(folder: Path) -> Job:
    job = linear_job(folder)
    (folder / "input" / "0.parquet").write_bytes(b"PAR1 and nothing that belongs to it PAR1")
    return job


def with_text_as_model(folder: Path) -> Job:
    job = linear_job(folder)
    (folder / "model.onnx").write_bytes(b"this is a text")
    return job


def with_batch_softmax(folder: Path) -> Job:
    model = onnx_models.softmax_over_rows(folder / "m.onnx")
    table = pa.table({"id": range(9), "x": pa.array(range(9), pa.float32())})
    return column_job(folder, model, table)


def with_custom_operator(folder: Path) -> Job:
    onnx_models.custom_operator(folder / "custom.onnx", domain="acme.ops", name="Magic")
    return linear_job(folder, {"model.storageUri": "custom.onnx"})


def with_null(folder: Path, policy: dict) -> Job:
    model = onnx_models.identity(folder / "m.onnx", onnx.TensorProto.FLOAT)
    table = pa.table({"id": [0, 1], "x": pa.array([None, 1.0], pa.float32())})
    return column_job(folder, model, table, {"errorPolicy": policy})


def with_foreign_file(folder: Path) -> Job:
    (folder / "output").mkdir()
    (folder / "output" / "part-of-something.parquet").write_bytes(b"")
    return linear_job(folder)


def unfinished(folder: Path) -> Job:
    """A job whose first run planned, claimed its output, and ended before it was complete."""
    job = with_null(folder, {"onError": "Fail"})
    assert run(job).message.startswith("RowRejected")
    return job


def with_other_name(folder: Path) -> Job:
    job = unfinished(folder)
    job.name = "somebody-else"
    return job


def with_changed_input(folder: Path) -> Job:
    job = unfinished(folder)
    table = pa.table({"id": [0, 1], "x": pa.array([5.0, 1.0], pa.float32())})
    pq.write_table(table, folder / "input" / "0.parquet")
    return job


def with_plan_of_the_future(folder: Path) -> Job:
    job = unfinished(folder)
    (plan,) = job.output.rglob("plan.json")
    plan.write_text(json.dumps({**json.loads(plan.read_text()), "version": 99}))
    return job


NO_DIGEST = "sha256:" + "0" * 64

REFUSALS = {
    Reason.INVALID_SPEC: Refusal(
        lambda folder: linear_job(folder, {"input.storageUri": "input/"}),
        ("spec.input.storageUri: there is no such field; did you mean 'storageUris'?", "job.yaml"),
    ),
    Reason.SCHEMA_MISMATCH: Refusal(
        lambda folder: with_input(folder, small_table().rename_columns(["id", "a", "b", "z"])),
        ("'input' to column 'c'", "does not exist", "'z'"),
    ),
    Reason.AMBIGUOUS_COLUMN: Refusal(
        lambda folder: with_input(folder, small_table().append_column("A", [[0.0] * 10])),
        ("'a'", "'A'", "0.parquet", "rename one of the two"),
    ),
    Reason.INPUT_NOT_FOUND: Refusal(
        lambda folder: linear_job(folder, {"input.storageUris": ["input/*.orc"]}),
        ("Parquet", "input/*.orc", "check the path"),
    ),
    Reason.INPUT_CHANGED: Refusal(
        with_changed_input, ("0.parquet", "start anew with another output"), ExitCode.FAILED
    ),
    Reason.INPUT_CORRUPT: Refusal(with_corrupt_input, ("0.parquet", "write it again")),
    Reason.MODEL_NOT_FOUND: Refusal(
        lambda folder: linear_job(folder, {"model.storageUri": "elsewhere.onnx"}),
        ("elsewhere.onnx", "spec.model.storageUri must name an .onnx file"),
    ),
    Reason.MODEL_DIGEST_MISMATCH: Refusal(
        lambda folder: linear_job(folder, {"model.digest": NO_DIGEST}),
        ("model.onnx", NO_DIGEST, "change spec.model.digest"),
    ),
    Reason.MODEL_UNSUPPORTED: Refusal(
        with_text_as_model, ("model.onnx", "is not an ONNX model", "export the model to ONNX")
    ),
    Reason.MODEL_UNSAFE: Refusal(
        with_custom_operator, ("'acme.ops'", "Models may use the domains")
    ),
    Reason.MODEL_NOT_ROWWISE: Refusal(
        with_batch_softmax, ("does not score row by row", "set spec.batching.batchSize: 1")
    ),
    Reason.ACCELERATOR_UNAVAILABLE: Refusal(
        lambda folder: linear_job(
            folder, {"execution.executionProviders": ["CUDAExecutionProvider"]}
        ),
        ("'CUDAExecutionProvider'", "spec.execution.allowProviderFallback: true"),
    ),
    Reason.OUTPUT_EXISTS: Refusal(
        with_foreign_file,
        ("part-of-something.parquet", "use an empty output location"),
        ExitCode.FAILED,
    ),
    Reason.OUTPUT_PATH_CLAIMED: Refusal(
        with_other_name,
        ("'job' in namespace 'default'", "use another output location", "bij gc OUTPUT --release"),
        ExitCode.FAILED,
    ),
    Reason.VERSION_SKEW: Refusal(
        with_plan_of_the_future, ("version 99", "use the runner release"), ExitCode.FAILED
    ),
    Reason.ROW_REJECTED: Refusal(
        lambda folder: with_null(folder, {"onError": "Fail"}),
        ("0.parquet", "row 0", "column 'x'", "spec.errorPolicy.onError"),
        ExitCode.FAILED,
    ),
    Reason.ERROR_THRESHOLD_EXCEEDED: Refusal(
        lambda folder: with_null(folder, {"errorThreshold": 0}),
        ("spec.errorPolicy.errorThreshold allows 0", "Correct the input", "raise the limit"),
        ExitCode.FAILED,
    ),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_refusal_names_the_thing_and_says_what_to_do(tmp_path, reason):
    refusal = REFUSALS[reason]
    check(run(refusal.make(tmp_path)), reason, refusal.says, refusal.code)


@pytest.mark.parametrize(
    ("method", "error", "reason", "says"),
    [
        (
            "create",
            VolumeFull,
            Reason.OUTPUT_VOLUME_FULL,
            ("make room and run the same job again",),
        ),
        ("get", AccessDenied, Reason.ACCESS_DENIED, ("credentials", "spec.output.secretRef")),
    ],
)
def test_a_store_that_refuses_is_named(tmp_path, monkeypatch, method, error, reason, says):
    def refuse(store: Folder, key: str, *_others: object) -> None:
        raise error(f"cannot use {store.uri + key!r}")

    job = linear_job(tmp_path)
    monkeypatch.setattr(Folder, method, refuse)
    check(run(job), reason, (str(job.output), *says), ExitCode.FAILED)


def test_a_link_that_is_not_followed_is_no_matter_of_credentials(tmp_path):
    job = linear_job(tmp_path)
    (tmp_path / "input" / "more").symlink_to(tmp_path)
    ended = run(job)
    says = ("input/more", "name the folder that it leads to")
    check(ended, Reason.ACCESS_DENIED, says, ExitCode.FAILED)
    assert "credentials" not in ended.message


def test_a_changed_job_is_told_that_its_output_is_claimed(tmp_path):
    job = set_fields(unfinished(tmp_path), {"input.filter": "id > 0"})
    says = ("an earlier run of this job", "bij gc OUTPUT --release")
    check(run(job), Reason.OUTPUT_PATH_CLAIMED, says, ExitCode.FAILED)


def test_what_differs_from_the_run_before_is_named_as_the_manifest_does(tmp_path):
    job = unfinished(tmp_path)
    job = set_fields(job, {"input.storageUris": ["input/*"], "errorPolicy.onError": "Skip"})
    says = ("started with another spec.input.storageUris, spec.errorPolicy.onError;",)
    check(run(job), Reason.OUTPUT_PATH_CLAIMED, says, ExitCode.FAILED)


def test_a_store_that_lets_several_writers_win_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Folder, "publish", lambda _store, _source, _target: None)
    ended = run(linear_job(tmp_path))
    says = ("output/", "replaced an object that was there", "write to another store")
    check(ended, Reason.OUTPUT_STORE_UNSAFE, says, ExitCode.FAILED)


def test_rows_that_do_not_add_up_are_not_committed(tmp_path, monkeypatch):
    received = StagedShard.from_json

    def with_a_row_too_many(document: dict) -> StagedShard:
        return received({**document, "rows_written": 11})

    monkeypatch.setattr(StagedShard, "from_json", with_a_row_too_many)
    job = linear_job(tmp_path)
    says = ("shard 0", "11", "10", "report this as a bug")
    check(run(job), Reason.ROW_COUNT_MISMATCH, says, ExitCode.FAILED)
    assert not list(job.output.glob("part-*"))


@pytest.mark.parametrize("command", ["run", "validate"])
def test_a_refused_manifest_is_one_json_document_for_programs(tmp_path, command):
    job = linear_job(tmp_path, {"output.mode": "Replace"})
    ended = bij(command, job.write(), "--output-format", "json")
    assert ended.code == ended.result["exitCode"] == ExitCode.INVALID
    assert ended.result["outcome"] == "Failed"
    assert "spec.output.mode: 'Replace' is not one of" in ended.message


def test_a_job_that_cannot_be_planned_is_one_json_document_of_validate(tmp_path):
    ended = validate(linear_job(tmp_path, {"model.storageUri": "elsewhere.onnx"}))
    refusal = REFUSALS[Reason.MODEL_NOT_FOUND]
    check(ended, Reason.MODEL_NOT_FOUND, refusal.says, refusal.code)


def test_an_output_that_cannot_be_a_folder_is_a_mistake_and_no_outage(tmp_path):
    job = linear_job(tmp_path)
    (tmp_path / "taken").write_text("a file")
    ended = run(job, "--output", str(tmp_path / "taken"))
    check(ended, Reason.INVALID_SPEC, ("opening the output", "correct the URI"), ExitCode.INVALID)


def test_an_output_inside_the_input_is_refused_before_anything_is_written_there(tmp_path):
    job = set_fields(linear_job(tmp_path), {"output.storageUri": "input"})
    before = sorted((tmp_path / "input").rglob("*"))
    check(run(job), Reason.INVALID_SPEC, ("lies inside the input",), ExitCode.INVALID)
    assert sorted((tmp_path / "input").rglob("*")) == before


def test_parquet_that_is_called_csv_is_named(tmp_path):
    job = linear_job(tmp_path)
    set_fields(job, {"input.format": "CSV"})
    check(run(job), Reason.INPUT_CORRUPT, ("begins as Parquet does",), ExitCode.INVALID)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_a_header_of_one_name_that_holds_a_delimiter_is_told(tmp_path, delimiter):
    job = linear_job(tmp_path, {"input.format": "CSV"}, files=0)
    (tmp_path / "input" / "rows.csv").write_text("id;a;b;c\n0;0;0;0\n".replace(";", delimiter))
    says = f"set spec.input.csv.delimiter to {json.dumps(delimiter)} if"
    check(run(job), Reason.SCHEMA_MISMATCH, (says,), ExitCode.INVALID)


def test_a_csv_header_that_would_swallow_rows_is_refused(tmp_path):
    job = job_over(tmp_path, "CSV")
    (tmp_path / "data" / "x.csv").write_text('a,b,c,"t\n' + "1,2,3,x\n" * 5)
    says = ("the header of", "x.csv", "opens a quote", "close it")
    check(run(job), Reason.INPUT_CORRUPT, says, ExitCode.INVALID)
