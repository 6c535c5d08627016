"""What is fetched is verified: digest, place of external data, operators."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import stat
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import Location, ModelConfig
from batch_inference_runner.errors import InvalidJob, Unavailable
from batch_inference_runner.models import model_file
from batch_inference_runner.models.graph_facts import read_graph_facts
from batch_inference_runner.models.model_file import fetch_model
from batch_inference_runner.models.onnx_wire import NotOnnx
from batch_inference_runner.storage.store import FileAccessDenied, NotFound
from testkit import onnx_models
from testkit.scorers import run_plainly


def fetch(source, into, *, digest=None):
    return fetch_model(ModelConfig(location=Location(uri=source.as_uri()), digest=digest), into)


def refusal(source, into, **options) -> InvalidJob:
    with pytest.raises(InvalidJob) as caught:
        fetch(source, into, **options)
    return caught.value


def model_folder(parent) -> Path:
    folder = parent / "model"
    folder.mkdir()
    onnx_models.linear(folder / "m.onnx")
    return folder


def test_the_digest_of_one_file_is_what_sha256sum_prints(tmp_path):
    path = onnx_models.linear(tmp_path / "m.onnx")

    model = fetch(path, tmp_path / "private")

    assert model.digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert model.path.read_bytes() == path.read_bytes()
    assert stat.S_IMODE(model.path.parent.stat().st_mode) == 0o700


def test_what_is_loaded_does_not_change_with_the_source(tmp_path):
    path = onnx_models.linear(tmp_path / "m.onnx")
    model = fetch(path, tmp_path / "private")
    before = model.path.read_bytes()

    with path.open("r+b") as file:
        file.write(b"changed")

    assert model.path.read_bytes() == before


@pytest.mark.parametrize("what", ["is_dir", "iterdir", "open"])
def test_a_model_that_may_not_be_read_is_told_so_whatever_was_tried(tmp_path, monkeypatch, what):
    folder = model_folder(tmp_path)
    used = getattr(Path, what)

    def refuse(path, *others):
        if not path.is_relative_to(folder):
            return used(path, *others)
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, what, refuse)

    with pytest.raises(FileAccessDenied, match=r"model.*may not be read.*Permission denied"):
        fetch(folder, tmp_path / "private")


def test_a_model_on_a_disk_that_fails_may_be_fetched_later(tmp_path, monkeypatch):
    folder = model_folder(tmp_path)

    def fail(_path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "iterdir", fail)

    with pytest.raises(Unavailable, match="Input/output error"):
        fetch(folder, tmp_path / "private")


def test_a_pinned_digest_is_compared_and_both_are_named(tmp_path):
    path = onnx_models.linear(tmp_path / "m.onnx")
    found = fetch(path, tmp_path / "one").digest
    wanted = "sha256:" + "0" * 64

    assert fetch(path, tmp_path / "two", digest=found).digest == found
    error = refusal(path, tmp_path / "three", digest=wanted)
    assert error.reason is Reason.MODEL_DIGEST_MISMATCH
    assert found in error.message
    assert wanted in error.message


def test_a_folder_with_external_data_has_a_digest_of_both_files(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    onnx_models.with_external_data(folder / "m.onnx")
    (folder / "README.md").write_text("not part of the model")

    model = fetch(folder, tmp_path / "private")

    lines = b"".join(
        f"{name}\0{hashlib.sha256((folder / name).read_bytes()).hexdigest()}\n".encode()
        for name in ("m.onnx", "weights.bin")
    )
    assert model.digest == f"sha256:{hashlib.sha256(lines).hexdigest()}"
    assert sorted(path.name for path in model.path.parent.iterdir()) == ["m.onnx", "weights.bin"]
    assert fetch(folder / "m.onnx", tmp_path / "again").digest == model.digest


def test_external_data_that_leads_out_of_the_folder_is_refused(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"x" * 2000)
    onnx_models.with_external_data(folder / "m.onnx")
    (folder / "weights.bin").unlink()
    (folder / "weights.bin").symlink_to(tmp_path / "secret")

    assert refusal(folder, tmp_path / "private").reason is Reason.MODEL_UNSAFE


def with_weights_at(path: Path, *locations: str) -> Path:
    """A model whose two initializers say in these words where their values lie."""
    onnx_models.with_external_data(path)
    model = onnx.load(path, load_external_data=False)
    for tensor, location in zip(model.graph.initializer, locations, strict=True):
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    "location",
    [
        "../weights.bin",
        "./../secret",
        "/etc/passwd",
        "a/../b",
        "a\\b",
        "",
        ".",
        "./m.onnx",
        "m.onnx",
    ],
)
def test_external_data_that_does_not_lie_beside_the_model_is_refused(tmp_path, location):
    path = with_weights_at(tmp_path / "m.onnx", location, location)

    assert refusal(path, tmp_path / "private").reason is Reason.MODEL_UNSAFE


@pytest.mark.parametrize(
    ("locations", "says"),
    [
        pytest.param(("w.bin", "w.bin/x"), ("'w.bin/x'", "'w.bin'"), id="a file and a folder"),
        pytest.param(("a/b", "a/b/c/d"), ("'a/b/c/d'", "'a/b'"), id="further below"),
        pytest.param(("w.bin", "m.onnx/w"), ("'m.onnx/w'", "'m.onnx'"), id="below the model"),
        pytest.param(("w.bin", "w" * 256), ("longer than 255 bytes",), id="a name too long"),
    ],
)
def test_external_data_that_cannot_be_copied_is_refused(tmp_path, locations, says):
    path = with_weights_at(tmp_path / "m.onnx", *locations)
    (tmp_path / "weights.bin").rename(tmp_path / "w.bin")

    error = refusal(path, tmp_path / "private")

    assert error.reason is Reason.MODEL_UNSAFE
    assert all(words in error.message for words in says)


@pytest.mark.parametrize("file", ["w.bin", "layers/w.bin"])
def test_missing_external_data_is_named(tmp_path, file):
    path = with_weights_at(tmp_path / "m.onnx", file, file)

    error = refusal(path, tmp_path / "private")

    assert error.reason is Reason.MODEL_NOT_FOUND
    assert f"'{file}'" in error.message
    assert "must lie beside the .onnx file" in error.message
    assert "there is no model" not in error.message


def test_external_data_may_be_named_in_several_ways(tmp_path):
    path = with_weights_at(tmp_path / "m.onnx", "./weights.bin", ".//weights.bin")
    (tmp_path / "plain").mkdir()
    plain = onnx_models.with_external_data(tmp_path / "plain" / "m.onnx")

    model = fetch(path, tmp_path / "private")

    rows = {"input": np.ones((2, 300), np.float32)}
    assert sorted(file.name for file in model.path.parent.iterdir()) == ["m.onnx", "weights.bin"]
    np.testing.assert_array_equal(run_plainly(model.path, rows)[0], run_plainly(plain, rows)[0])


@pytest.mark.parametrize(
    ("domain", "name"), [("acme.ops", "Magic"), ("com.microsoft", "EPContext"), ("", "EPContext")]
)
def test_operators_that_need_foreign_code_are_refused_before_loading(tmp_path, domain, name):
    path = onnx_models.custom_operator(tmp_path / "m.onnx", domain=domain, name=name)

    error = refusal(path, tmp_path / "private")

    assert error.reason is Reason.MODEL_UNSAFE
    assert name in error.message


def test_operators_inside_subgraphs_and_functions_are_seen(tmp_path):
    hidden = helper.make_node("Magic", ["v"], ["w"], domain="acme.ops")
    function = helper.make_function(
        "local", "Wrap", ["v"], ["w"], [hidden], [helper.make_opsetid("acme.ops", 1)]
    )
    path = onnx_models.save(
        tmp_path / "m.onnx",
        [helper.make_node("Wrap", ["x"], ["y"], domain="local")],
        [("x", TensorProto.FLOAT, ["N"])],
        [("y", TensorProto.FLOAT, ["N"])],
        opsets=["local"],
        functions=[function],
    )
    facts = read_graph_facts(path.read_bytes())

    assert ("acme.ops", "Magic") in facts.operators
    assert facts.functions == {("local", "Wrap")}
    assert "'Magic'" in refusal(path, tmp_path / "private").message
    looping = read_graph_facts(onnx_models.loop(tmp_path / "l.onnx").read_bytes())
    assert ("", "Identity") in looping.operators


def test_long_attributes_of_trees_are_skipped_without_losing_what_follows(tmp_path):
    node = helper.make_node(
        "Magic", ["x"], ["y"], domain="acme.ops", a=[1.5] * 1000, b=list(range(-500, 500)),
        c=["BRANCH_LEQ", "LEAF", "", "é" * 40] * 300,
    )  # fmt: skip
    last = helper.make_node("After", ["y"], ["z"], domain="acme.ops")
    path = onnx_models.save(
        tmp_path / "m.onnx", [node, last], [("x", 1, ["N"])], [("z", 1, ["N"])], opsets=["acme.ops"]
    )

    operators = read_graph_facts(path.read_bytes()).operators

    assert operators == {("acme.ops", "Magic"), ("acme.ops", "After")}


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", Reason.MODEL_UNSUPPORTED), (b"\x80\x04\x95pickle", Reason.MODEL_UNSUPPORTED)],
)
def test_what_is_no_onnx_model_is_refused(tmp_path, content, reason):
    (tmp_path / "m.onnx").write_bytes(content)

    assert refusal(tmp_path / "m.onnx", tmp_path / "private").reason is reason


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_hostile_bytes_end_in_a_refusal_and_nothing_else(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "hostile.onnx"
    if not path.exists():
        onnx_models.loop(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    with contextlib.suppress(NotOnnx):
        read_graph_facts(bytes(content))


def test_deeply_nested_graphs_are_refused():
    body = b"\x0a\x00"
    for _ in range(600):
        attribute = b"\x32" + _length(body) + body  # AttributeProto.g
        node = b"\x2a" + _length(attribute) + attribute  # NodeProto.attribute
        body = b"\x0a" + _length(node) + node  # GraphProto.node
    with pytest.raises(NotOnnx, match="nested"):
        read_graph_facts(b"\x3a" + _length(body) + body)


def _length(body: bytes) -> bytes:
    size, out = len(body), bytearray()
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*out, size])


@pytest.mark.parametrize("files", [[], ["a.onnx", "b.onnx"]])
def test_a_folder_needs_exactly_one_model(tmp_path, files):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in files:
        onnx_models.linear(folder / name)

    assert refusal(folder, tmp_path / "private").reason is Reason.MODEL_NOT_FOUND


def test_a_missing_model_is_named(tmp_path):
    error = refusal(tmp_path / "none.onnx", tmp_path / "private")

    assert error.reason is Reason.MODEL_NOT_FOUND
    assert "none.onnx" in error.message


def test_the_graph_is_walked_once(tmp_path, monkeypatch):
    path = onnx_models.linear(tmp_path / "m.onnx")
    walked = []

    def walk(data):
        walked.append(len(data))
        return read_graph_facts(data)

    monkeypatch.setattr(model_file, "read_graph_facts", walk)
    fetch(path, tmp_path / "private")
    assert walked == [path.stat().st_size]


@pytest.mark.parametrize(
    "uri", ["s3://models/churn/m.onnx", "s3://models/churn", "s3://models/churn/"]
)
def test_a_model_in_a_store_is_fetched_with_its_external_data(tmp_path, monkeypatch, uri):
    (tmp_path / "churn").mkdir()
    onnx_models.with_external_data(tmp_path / "churn" / "m.onnx")
    (tmp_path / "churn" / "other.bin").write_bytes(b"not fetched")
    local = str(tmp_path)

    def at(text: str) -> Location:
        return Location(uri=text.replace("s3://models", f"file://{local}"))

    from batch_inference_runner.storage import location

    real_parent, real_store = location.open_parent, location.open_store
    monkeypatch.setattr(
        location, "open_parent", lambda place, **how: real_parent(at(place.uri), **how)
    )
    monkeypatch.setattr(location, "open_store", lambda place: real_store(at(place.uri)))

    model = fetch_model(ModelConfig(location=Location(uri=uri)), tmp_path / "private")

    assert sorted(path.name for path in model.path.parent.iterdir()) == ["m.onnx", "weights.bin"]
    assert model.digest == fetch(tmp_path / "churn", tmp_path / "again").digest


def test_messages_show_no_user_information_and_no_signature(tmp_path, monkeypatch):
    from batch_inference_runner.storage import location

    def missing(_place, **_how):
        raise NotFound("m.onnx")

    monkeypatch.setattr(location, "open_parent", missing)
    uri = "https://user:password@host/m.onnx?X-Amz-Signature=secret"

    with pytest.raises(InvalidJob) as caught:
        fetch_model(ModelConfig(location=Location(uri=uri)), tmp_path / "private")

    assert "'https://host/m.onnx'" in caught.value.message
