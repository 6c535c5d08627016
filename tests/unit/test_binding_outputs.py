"""Which outputs become which columns, and what is refused."""

from __future__ import annotations

import pyarrow as pa
import pytest

from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import ModelOutputBinding
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.models.output_binding import bind_outputs
from batch_inference_runner.models.signature import Signature, ValueSpec

SCHEMA = pa.schema([("id", pa.int64()), ("Label", pa.string())])


def bind(output: ValueSpec, **binding):
    bindings = [ModelOutputBinding(name=output.name, column="c", **binding)] if binding else []
    return bind_outputs(Signature((), (output,)), SCHEMA, bindings)[0]


@pytest.mark.parametrize(
    ("type_", "shape", "arrow"),
    [
        ("tensor(float)", (None,), pa.float32()),
        ("tensor(double)", (None, 1), pa.float64()),
        ("tensor(int64)", (1,), pa.int64()),
        ("tensor(int64)", None, pa.int64()),
        ("tensor(float16)", (None, 4), pa.list_(pa.float16())),
        ("tensor(float)", (None, None), pa.list_(pa.float32())),
        ("tensor(float)", (None, 2, 3), pa.list_(pa.list_(pa.float32()))),
        ("tensor(string)", (None,), pa.string()),
        ("tensor(bool)", (None,), pa.bool_()),
        ("seq(map(string,tensor(float)))", None, pa.map_(pa.string(), pa.float32())),
        ("seq(map(int64,tensor(float)))", None, pa.map_(pa.int64(), pa.float32())),
    ],
)
def test_an_output_becomes_a_column_of_its_name(type_, shape, arrow):
    plan = bind(ValueSpec("score", type_, shape))

    assert plan.field == pa.field("score", arrow)


def test_index_and_class_label_pick_one_value():
    assert bind(ValueSpec("p", "tensor(float)", (None, 2)), index=1).type == pa.float32()
    picked = bind(ValueSpec("p", "seq(map(int64,tensor(float)))", None), class_label="1")
    assert (picked.label, picked.type) == (1, pa.float32())


@pytest.mark.parametrize(
    ("output", "binding", "reason", "words"),
    [
        pytest.param(
            ValueSpec("label", "tensor(string)", (None,)),
            {},
            Reason.AMBIGUOUS_COLUMN,
            'column: "predicted_label"',
            id="a name that differs from an input column by case only",
        ),
        pytest.param(
            ValueSpec("p", "tensor(float)", (None, 2)),
            {"class_label": "yes"},
            Reason.INVALID_SPEC,
            "use index instead",
            id="a class label of a tensor",
        ),
        pytest.param(
            ValueSpec("p", "seq(map(int64,tensor(float)))", None),
            {"index": 0},
            Reason.INVALID_SPEC,
            "use classLabel instead",
            id="an index into maps",
        ),
        pytest.param(
            ValueSpec("p", "seq(map(int64,tensor(float)))", None),
            {"class_label": "yes"},
            Reason.INVALID_SPEC,
            "'yes' is none",
            id="a text label where classes are numbers",
        ),
        pytest.param(
            ValueSpec("p", "tensor(float)", (None, 2)),
            {"index": 2},
            Reason.INVALID_SPEC,
            "holds 2 value(s) a row, index is 2",
            id="an index out of range",
        ),
        pytest.param(
            ValueSpec("p", "seq(tensor(float))", None),
            {},
            Reason.MODEL_UNSUPPORTED,
            "cannot become a column",
            id="a sequence of tensors",
        ),
    ],
)  # fmt: skip
def test_what_cannot_become_a_column_is_refused_with_what_to_do(output, binding, reason, words):
    with pytest.raises(InvalidJob) as caught:
        bind(output, **binding)

    assert caught.value.reason is reason
    assert words in caught.value.message


def test_two_outputs_may_not_become_one_column():
    p = ValueSpec("p", "tensor(float)", (None, 2))
    bindings = [
        ModelOutputBinding(name="p", column="score", index=0),
        ModelOutputBinding(name="p", column="Score", index=1),
    ]

    with pytest.raises(InvalidJob, match="'Score'"):
        bind_outputs(Signature((), (p,)), SCHEMA, bindings)


def test_an_output_that_the_model_lacks_is_refused():
    with pytest.raises(InvalidJob, match="names 'q', but the model's outputs are 'p'"):
        bind_outputs(
            Signature((), (ValueSpec("p", "tensor(float)", (None,)),)),
            SCHEMA,
            [ModelOutputBinding(name="q", column="c")],
        )
