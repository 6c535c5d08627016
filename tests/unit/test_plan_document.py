"""The plan's identity and its JSON."""

from __future__ import annotations

import json

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import RunnerConfig
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.plan.document import (
    from_json,
    identity_of,
    make_plan,
    to_json,
)
from batch_inference_runner.plan.plan import InputFile, Piece, Shard

DETAILS = {"modelDigest": "sha256:" + "a" * 64, "inputSchema": [["x", "float"]]}


def make_config(**changes) -> RunnerConfig:
    document = {
        "job": {"name": "j"},
        "model": {"location": {"uri": "file:///m.onnx"}},
        "input": {"locations": [{"uri": "s3://b/in/"}], "format": "Parquet"},
        "output": {
            "location": {"uri": "s3://b/out/"},
            "format": "Parquet",
            "compression": "zstd",
        },
    }
    for path, value in changes.items():
        *parents, leaf = path.split("__")
        target = document
        for parent in parents:
            target = target.setdefault(parent, {})
        target[leaf] = value
    return RunnerConfig.model_validate(document)


def make_files(count=3):
    return tuple(
        InputFile(f"s3://b/in/k=é/{i}.parquet", 10 + i, f"v{i}", 0, (("k", "é"),))
        for i in range(count)
    )


SHARDS = (
    Shard(0, (Piece(0, 0, 2, 0, 100), Piece(1, 0, 1, 0, 5))),
    Shard(1, (Piece(2, 0, 4096),)),
    Shard(2, ()),
)


def make(config=None, *, details=DETAILS, files=None, shards=SHARDS):
    spec = identity_of(config or make_config())
    return make_plan(spec, details, make_files() if files is None else files, shards)


def test_a_plan_survives_its_json():
    plan = make()
    assert from_json(to_json(plan)) == plan


def test_the_same_plan_gives_the_same_bytes():
    assert to_json(make()) == to_json(make())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("input__filter", "x > 1"),
        ("input__format", "CSV"),
        ("input__locations", [{"uri": "s3://b/other/"}]),
        ("input__key_field", "id"),
        ("model__inputs", [{"name": "x", "columns": ["x"]}]),
        ("model__outputs", [{"name": "y", "column": "score"}]),
        ("preprocessing", [{"name": "a", "expression": "x + 1"}]),
        ("postprocessing", [{"name": "a", "expression": "x + 1"}]),
        ("output__format", "CSV"),
        ("output__compression", "snappy"),
        ("output__partition_by", ["k"]),
        ("output__passthrough_fields", ["x"]),
        ("error_policy__on_error", "Fail"),
    ],
)
def test_what_decides_the_bytes_changes_the_hash(path, value):
    assert make(make_config(**{path: value})).hash != make().hash


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("job__name", "other"),
        ("input__locations", [{"uri": "s3://b/in/", "credentials_dir": "/secrets/a"}]),
        ("model__location", {"uri": "file:///m.onnx", "credentials_dir": "/secrets/b"}),
        ("output__location", {"uri": "s3://elsewhere/"}),
        ("output__mode", "Append"),
        ("sharding__target_rows_per_shard", 5),
        ("execution__batch_size", 64),
        ("workers__replicas", 4),
        ("budget__max_failed_shards", 4),
        ("error_policy__error_threshold", 4),
        ("run__number", 4),
    ],
)
def test_what_does_not_decide_the_bytes_leaves_the_hash(path, value):
    assert make(make_config(**{path: value})).hash == make().hash


def test_files_cuts_model_and_schema_change_the_hash():
    plans = [
        make(),
        make(files=make_files(4)),
        make(shards=SHARDS[:2]),
        make(details={**DETAILS, "modelDigest": "sha256:" + "b" * 64}),
        make(details={**DETAILS, "inputSchema": [["x", "double"]]}),
    ]
    assert len({plan.hash for plan in plans}) == len(plans)


def test_other_details_leave_the_hash():
    assert make(details={**DETAILS, "batch_size": 64}).hash == make().hash


def test_a_plan_without_the_models_digest_is_refused():
    with pytest.raises(ValueError, match="modelDigest"):
        make(details={"inputSchema": []})


@pytest.mark.parametrize(
    "damage",
    [
        lambda plan: {**plan, "version": 2},
        lambda plan: {**plan, "shards": plan["shards"][:-1]},
        lambda plan: {key: value for key, value in plan.items() if key != "files"},
        lambda plan: [plan],
    ],
    ids=["of a newer version", "that was changed", "that lacks files", "that is a list"],
)
def test_a_document_is_refused(damage):
    document = json.dumps(damage(json.loads(to_json(make())))).encode()
    with pytest.raises(JobFailed) as raised:
        from_json(document)
    assert raised.value.reason is Reason.VERSION_SKEW


def test_a_plan_of_thirty_thousand_shards_stays_small():
    files = tuple(
        InputFile(f"s3://bucket/some/long/folder/part-{i:06d}.parquet", 1000, f"etag{i}", 0)
        for i in range(30_000)
    )
    shards = tuple(Shard(i, (Piece(i, 0, 1, 0, 1000),)) for i in range(30_000))
    document = to_json(make(files=files, shards=shards))
    assert len(document) < 3_000_000
    assert from_json(document).shards == shards
