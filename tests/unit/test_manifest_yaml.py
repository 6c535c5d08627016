# ruff: noqa: E501 - one line for each case reads better than wrapped messages
"""YAML from strangers: read as Kubernetes reads it, refused where it could do harm."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from batch_inference_runner.cli import manifest_yaml
from batch_inference_runner.cli.manifest_yaml import YamlProblem, read_documents, read_value
from testkit.yaml_readings import KEYS, READINGS, REFUSED, REFUSED_KEYS

LAYERS = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"] + [
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)
]
MERGES = ["a0: &a0 {x: 1, y: 2}"] + [
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 9)
]

REFUSALS = {
    "an open bracket": ("a: [1", "line 2, column 1: did not find expected ',' or ']'"),
    "a tab as indentation": ("a:\n\tb: 1", "line 2, column 1: a tab, where YAML takes spaces only"),
    "a colon too many": ("a: b: c", "line 1, column 5: mapping values are not allowed"),
    "a key set twice": ("a: 1\nb: 2\n a: 3".replace("\n a", "\na"), "line 3, column 1: 'a' is set twice, first in line 1"),
    "a nested key set twice": ("s:\n  a: 1\n  a: 1", "line 3, column 3: 'a' is set twice, first in line 2"),
    "an object of Python": ("a: !!python/object/apply:os.system [x]", "line 1, column 4: the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed"),
    "binary": ("a: !!binary aGk=", "line 1, column 4: the tag 'tag:yaml.org,2002:binary' is not allowed"),
    "a tag of one's own": ("a: !secret x", "the tag '!secret' is not allowed"),
    "a list as a key": ("[a]: 1", "a key must be plain text"),
    "an alias without anchor": ("a: *b", "line 1, column 4: the alias 'b' has no anchor before it"),
    "an alias inside its anchor": ("a: &a [*a]", "the alias 'a' has no anchor before it"),
    "a bomb of aliases": ("\n".join(LAYERS), "stands for more than 100000 values, aliases written out"),
    "a bomb of merges": ("\n".join(MERGES), "stands for more than 100000 values, aliases written out"),
    "deep nesting": ("[" * 200_000, "nested more than 64 levels deep"),
    "deep nesting of blocks": ("- " * 200_000, "nested more than 64 levels deep"),
    "a control character": ("a: \x07", "control characters are not allowed"),
    "a large file": ("#" * (2**20 + 1), "the file is larger than 1048576 bytes"),
    "a merge of text": ("<<: x", "line 1, column 5: '<<' merges mappings only"),
}  # fmt: skip


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
@pytest.mark.parametrize(("text", "message"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_says_where_and_why(text, message, loader, monkeypatch):
    monkeypatch.setattr(manifest_yaml, "_loader", lambda: getattr(yaml, loader))
    if loader == "SafeLoader" and len(text) > 100_000 and "nested" in message:
        text = text[:1000]  # the pure Python scanner takes seconds for the whole

    with pytest.raises(YamlProblem) as refusal:
        read_documents(text.encode())

    told = str(refusal.value)
    assert message in told or (loader == "SafeLoader" and told)
    assert told.count("column") <= 1


def test_text_that_is_not_utf8_is_refused_with_its_line():
    with pytest.raises(YamlProblem, match="line 2: the file is not UTF-8"):
        read_documents(b"a: b\nc: \xff")


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
@pytest.mark.parametrize(("text", "value"), READINGS.items())
def test_values_are_those_that_kubectl_reads(text, value, loader, monkeypatch):
    monkeypatch.setattr(manifest_yaml, "_loader", lambda: getattr(yaml, loader))
    assert repr(read_value(f"- {text}")) == repr([value])


@pytest.mark.parametrize("text", REFUSED)
def test_what_kubectl_takes_for_no_value_is_refused(text):
    with pytest.raises(YamlProblem, match=r"^line 1, column 3: .* is no "):
        read_value(f"- {text}")


@pytest.mark.parametrize(
    ("text", "value"),
    [("|\n  a\n  b\n", "a\nb\n"), ("[a, {b: c}]", ["a", {"b": "c"}])],
)
def test_blocks_and_flows_are_read(text, value):
    assert read_value(text) == value


@pytest.mark.parametrize(("written", "text"), KEYS.items())
def test_keys_are_the_text_that_kubectl_makes_of_them(written, text):
    assert read_value(f"{written}: a") == {text: "a"}


@pytest.mark.parametrize("key", [*REFUSED_KEYS, "1.5", "1e6", ".inf", "9223372036854775808"])
def test_a_key_that_is_no_text_to_be_sure_of_is_refused(key):
    with pytest.raises(YamlProblem, match="a key must be "):
        read_value(f"{key}: a")


def test_anchors_and_merges_work_and_own_keys_win():
    text = "base: &base {a: 1, b: 2}\nother: &other {b: 3, c: 4}\nx: {<<: [*base, *other], a: 9}\n"
    assert read_value(text)["x"] == {"a": 9, "b": 2, "c": 4}


def test_empty_documents_are_skipped_and_anchors_end_with_their_document():
    assert [document.value for document in read_documents(b"---\n---\na: 1\n---\n# no\n")] == [
        {"a": 1}
    ]
    with pytest.raises(YamlProblem, match="has no anchor"):
        read_documents(b"a: &x 1\n---\nb: *x\n")


def test_lines_are_kept_for_every_path():
    document = read_documents(b"a:\n  b:\n  - 1\n  - c: 2\n")[0]
    assert document.lines[("a", "b", 1, "c")] == 4
    assert document.lines[("a", "b")] == 2


# Libraries differ on text like `08`, `1e3` and `y`, and PyYAML writes some white space as what it is
# not.
texts = st.text(st.characters(exclude_categories=("C", "N", "Z")), max_size=8).filter(
    lambda text: text.lower() not in {"y", "n"}
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(plain)
def test_what_a_library_writes_is_read_back_equal(value):
    assert read_value(yaml.safe_dump([value], allow_unicode=True)) == [value]
