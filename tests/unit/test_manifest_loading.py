# ruff: noqa: E501 - one line for each case reads better than wrapped messages
"""From a manifest file to the config of a run on this machine."""

from __future__ import annotations

from glob import escape
from pathlib import Path

import pytest
import yaml

from batch_inference_api.choices import OutputMode
from batch_inference_api.reasons import Reason
from batch_inference_runner.cli.manifest import load
from batch_inference_runner.errors import InvalidJob
from testkit.manifests import make_manifest


@pytest.fixture
def write(tmp_path):
    def write_manifest(changes=None, *, text: str | None = None) -> Path:
        path = tmp_path / "job.yaml"
        path.write_text(text if text is not None else yaml.safe_dump(make_manifest(changes)))
        return path

    return write_manifest


def refusal(path: Path, **arguments) -> str:
    with pytest.raises(InvalidJob) as raised:
        load(path, **arguments)
    assert raised.value.reason is Reason.INVALID_SPEC
    return raised.value.message.replace(str(path.parent), "DIR")


def test_plain_paths_count_from_the_folder_of_the_manifest(write, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    path = write({"spec.input.storageUris": ["a b/*.parquet", "../up/", "/abs/x", "s3://b/k/"]})

    config = load(path).config

    assert config.model.location.uri == f"file://{tmp_path}/model.onnx"
    assert config.output.location.uri == f"file://{tmp_path}/scores/"
    assert [location.uri for location in config.input.locations] == [
        f"file://{tmp_path}/a b/*.parquet",
        f"file://{tmp_path.parent}/up/",
        "file:///abs/x",
        "s3://b/k/",
    ]


@pytest.mark.parametrize("name", ["a [1]", "a*b?", "[!x][[z"])
def test_a_folder_of_the_manifest_that_looks_like_a_glob_is_none(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    path = folder / "job.yaml"
    uris = ["data/", "x[1].csv", "../up/*.csv", "pvc://claim/[ab]/"]
    path.write_text(yaml.safe_dump(make_manifest({"spec.input.storageUris": uris})))

    config = load(path, volumes={"claim": folder}).config

    assert config.model.location.uri == f"file://{folder}/model.onnx"
    assert config.output.location.uri == f"file://{folder}/scores/"
    escaped = f"file://{tmp_path}/{escape(name)}"
    assert [location.uri for location in config.input.locations] == [
        f"{escaped}/data/",
        f"{escaped}/x[1].csv",
        f"file://{tmp_path}/up/*.csv",
        f"{escaped}/[ab]/",
    ]


def test_a_manifest_named_relative_to_the_current_folder_is_found(write, tmp_path, monkeypatch):
    write()
    monkeypatch.chdir(tmp_path)
    assert load(Path("job.yaml")).config.model.location.uri == f"file://{tmp_path}/model.onnx"


def test_claims_are_mapped_to_folders(write, tmp_path):
    path = write({"spec.model.storageUri": "pvc://models/churn/7/model.onnx"})

    config = load(path, volumes={"models": tmp_path / "m"}).config

    assert config.model.location.uri == f"file://{tmp_path}/m/churn/7/model.onnx"
    assert refusal(path) == (
        "the manifest reads or writes pvc://models/: say which folder stands for the claim with "
        "--volume models=DIR"
    )


def test_secrets_are_mapped_to_folders_or_left_to_the_environment(write, tmp_path):
    path = write({"spec.input.secretRef": {"name": "lake"}})

    assert load(path).config.input.locations[0].credentials_dir is None
    mapped = load(path, secrets={"lake": tmp_path}).config
    assert mapped.input.locations[0].credentials_dir == str(tmp_path)
    assert mapped.output.location.credentials_dir is None
    assert (
        refusal(path, secrets={"lake": tmp_path / "none"})
        == "--secret lake=DIR/none: there is no such folder"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"secrets": {"object-stor": Path("/tmp")}}, "--secret object-stor=/tmp: .*names 'lake'"),
        ({"volumes": {"clam": Path("/tmp")}}, "--volume clam=/tmp: .*'clam'; it names none"),
    ],
)
def test_a_folder_for_a_name_that_the_manifest_does_not_have_is_refused(write, options, message):
    path = write({"spec.input.secretRef": {"name": "lake"}})
    with pytest.raises(InvalidJob, match=message):
        load(path, **options)


def test_output_on_the_command_line_counts_from_the_current_folder(write, tmp_path, monkeypatch):
    path = write()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    assert load(path, output="out").config.output.location.uri == f"file://{elsewhere}/out"
    assert load(path, output="../out/").config.output.location.uri == f"file://{tmp_path}/out/"
    assert load(path, output="s3://b/out/").config.output.location.uri == "s3://b/out/"


@pytest.mark.parametrize("output", ["s3:/b/out", "~/out", "$OUT/x", "hf://a/b", "https://h/x"])
def test_output_on_the_command_line_that_is_no_place_is_refused(write, output):
    assert refusal(write(), output=output).startswith("--output: ")


def test_output_on_the_command_line_may_be_in_a_folder_of_any_name(write, tmp_path, monkeypatch):
    path = write()
    folder = tmp_path / "$HOME"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert load(path, output="out").config.output.location.uri == f"file://{folder}/out"


def test_output_on_the_command_line_stands_in_for_one_that_is_missing(write):
    path = write({"spec.output.storageUri": ...})
    assert refusal(path).endswith("spec.output.storageUri: is required")
    assert load(path, output="/x").config.output.location.uri == "file:///x"


def test_overrides_are_yaml_values_applied_in_order(write):
    path = write({"spec.model.outputs": [{"name": "p", "column": "c", "index": 0}]})

    config = load(
        path,
        overrides=[
            "spec.output.mode=Append",
            "spec.output.mode=Overwrite",
            "spec.model.outputs[0].index=1",
            'spec.model.outputs[1]={name: q, column: d, classLabel: "1"}',
            "spec.input.filter=country = 'DE'",
            'spec.workers.resources.limits["nvidia.com/gpu"]=2',
            "spec.execution.executionProviders=[CUDAExecutionProvider]",
        ],
    ).config

    assert config.output.mode is OutputMode.OVERWRITE
    assert [output.index for output in config.model.outputs] == [1, None]
    assert config.model.outputs[1].class_label == "1"
    assert config.input.filter == "country = 'DE'"
    assert config.workers.gpus == 2


QUOTE = """put the value in quotes: --set '{}="..."'"""


BAD_OVERRIDES = [
    ("spec.x", "--set 'spec.x': write it as spec.field=value"),
    ("output.mode=x", "--set 'output.mode': not the path of a field; write it like spec."),
    ("spec..x=1", "--set 'spec..x': not the path of a field"),
    ("spec=1", "--set 'spec': not the path of a field"),
    ("spec.x[=1", "--set 'spec.x[': not the path of a field"),
    ("spec.x=[1", "did not find expected ',' or ']' (while parsing a flow sequence)"),
    ("spec.model.storageUri=*.onnx", f"(while scanning an alias); {QUOTE.format('spec.model.storageUri')}"),
    ("spec.input.filter=name = 'a #1'", f"spec.input.filter: line 1, column 11: '#' begins a comment; {QUOTE.format('spec.input.filter')}"),
    ("spec.input.filter=#a", "line 1, column 1: '#' begins a comment"),
    ("spec.model={storageUri: m, # a\n}", "line 1, column 17: '#' begins a comment"),
    ("spec.input.filter=a\n---\nb", "line 2, column 1: '---' and '...' stand between documents, and a value is one"),
    ("spec.input.filter=---", "line 1, column 1: '---' and '...' stand between documents"),
    ("spec.input.filter=a\n...", "line 2, column 1: '---' and '...' stand between documents"),
    ("spec.input.format.x=1", "spec.input.format.x: there is no mapping that could hold 'x'"),
    ("spec.input[0]=1", "--set spec.input[0]: [0] is not inside a list"),
    ("spec.model.outputs[1]=1", "the list has 0 entries, so no [1]"),
    ("spec.output.mod=Append", "spec.output.mod: there is no such field; did you mean 'mode'?"),
    ("spec.output.mode=5", "spec.output.mode: must be one of ErrorIfExists, Overwrite"),
]  # fmt: skip


@pytest.mark.parametrize(("override", "message"), BAD_OVERRIDES)
def test_an_override_that_cannot_be_applied_is_refused(write, override, message):
    assert message in refusal(write(), overrides=[override])


@pytest.mark.parametrize("text", ["'a #1'", '"a #1"', "a#1", "x = 'é#' AND y", "|\n  a #1"])
def test_what_is_no_comment_is_kept(write, text):
    override = f"spec.input.filter={text}"
    assert load(write(), overrides=[override]).config.input.filter == yaml.safe_load(text)


@pytest.mark.parametrize("sign", ["~", "|", "#", "\t", ";", ":", "*", "-", " "])
def test_a_single_sign_is_a_value_and_no_yaml(write, sign):
    path = write({"spec.input.format": "CSV"})
    config = load(path, overrides=[f"spec.input.csv.delimiter={sign}"]).config
    assert config.input.csv.delimiter == sign


def test_fields_that_only_a_cluster_obeys_are_listed(write):
    assert load(write()).without_effect == ()
    path = write(
        {
            "spec.suspend": True,
            "spec.ttlSecondsAfterFinished": 60,
            "spec.preRunningDeadlineSeconds": 60,
            "spec.progressDeadlineSeconds": 60,
            "spec.backoffLimit": 1,
            "spec.activeDeadlineSeconds": 60,
            "spec.workers": {
                "replicas": 4,
                "nodeSelector": {"a": "b"},
                "tolerations": [{"operator": "Exists"}],
                "priorityClassName": "high",
                "resources": {"requests": {"cpu": 1}},
            },
        }
    )
    assert load(path).without_effect == (
        "spec.suspend",
        "spec.backoffLimit",
        "spec.preRunningDeadlineSeconds",
        "spec.progressDeadlineSeconds",
        "spec.ttlSecondsAfterFinished",
        "spec.workers.replicas",
        "spec.workers.nodeSelector",
        "spec.workers.tolerations",
        "spec.workers.priorityClassName",
    )


def test_the_job_is_found_among_other_documents(write):
    others = "kind: ConfigMap\nmetadata: {name: settings}\n---\n---\n"
    path = write(text=others + yaml.safe_dump(make_manifest()))
    assert load(path).config.job.name == "churn"


def test_a_file_without_exactly_one_job_is_refused_with_what_was_found(write):
    assert refusal(write(text="")) == (
        "'DIR/job.yaml' must hold one BatchInferenceJob; found: nothing"
    )
    assert refusal(write(text="kind: Secret\nmetadata: {name: a}\n---\n[1]\n---\nx: 1\n")).endswith(
        "found: Secret 'a', a document that is not a mapping, a document without a kind"
    )
    two = yaml.safe_dump_all([make_manifest(), make_manifest({"metadata.name": "b"})])
    assert refusal(write(text=two)).endswith(
        "found: BatchInferenceJob 'churn', BatchInferenceJob 'b'"
    )


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        (
            "apiVersion",
            "batch-inference.dev/v1alpha1",
            "BatchInferenceJob 'churn' (write apiVersion: batchinference.dev/v1alpha1)",
        ),
        (
            "kind",
            "batchinferencejob",
            "batchinferencejob 'churn' (write kind: BatchInferenceJob)",
        ),
    ],
)
def test_what_is_nearly_a_job_is_told_what_it_lacks(write, field, value, found):
    assert refusal(write({field: value})).endswith(f"; found: {found}")


def test_a_field_with_nothing_behind_it_is_not_set(write):
    assert load(write({"spec.input.filter": None})).config.input.filter is None
    assert "spec.input.format: is required" in refusal(write({"spec.input.format": None}))


def test_problems_are_listed_with_their_lines(write):
    text = (
        "apiVersion: batchinference.dev/v1alpha1\n"
        "kind: BatchInferenceJob\n"
        "metadata: {name: a}\n"
        "spec:\n"
        "  model: {storageUri: m}\n"
        "  input:\n"
        "    storageUris:\n"
        "    - s3:///x\n"
        "    format: parquet\n"
        "  output: {storageUri: o}\n"
        "  sharding:\n"
        "    maxShard: 1\n"
    )
    assert refusal(write(text=text)) == (
        "'DIR/job.yaml' is not a valid BatchInferenceJob:\n"
        "  spec.input.storageUris[0]: names no bucket after 's3://' (line 8)\n"
        "  spec.input.format: 'parquet' is not one of Parquet, CSV, JSONLines, Arrow; did you mean "
        "'Parquet'? (line 9)\n"
        "  spec.sharding.maxShard: there is no such field; did you mean 'maxShards'? (line 12)"
    )


def test_a_value_from_the_command_line_has_no_line(write):
    assert "(line" not in refusal(write(), overrides=["spec.output.mode=Foo"])


@pytest.mark.parametrize("spec", [None, [], "x"])
def test_a_spec_that_is_no_mapping_is_refused_whatever_the_options(write, spec):
    assert "spec: " in refusal(write({"spec": spec}), output="/x")


def test_a_file_that_is_not_there_is_named(tmp_path):
    assert refusal(tmp_path / "no.yaml") == (
        "'DIR/no.yaml' cannot be read: No such file or directory"
    )
