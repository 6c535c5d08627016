"""Which columns feed which input, and what is refused."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
import yaml

from batch_inference_api.choices import NullPolicy
from batch_inference_api.reasons import Reason
from batch_inference_api.runner_contract import ModelInputBinding
from batch_inference_runner.errors import InvalidJob
from batch_inference_runner.models.binding import InputPlan, bind_inputs, fixed_batch
from batch_inference_runner.models.signature import Signature, ValueSpec

FLOAT = pa.float32()

LIST_OF_2 = pa.list_(FLOAT, 2)


def signature(*inputs: ValueSpec) -> Signature:
    return Signature(inputs=inputs, outputs=())


def spec(type_: str = "tensor(float)", shape=(None, 3), name: str = "input") -> ValueSpec:
    return ValueSpec(name, type_, shape)


def bind(value: ValueSpec, schema: dict[str, pa.DataType], **binding) -> InputPlan:
    bindings = [ModelInputBinding(name=value.name, **binding)] if binding else []
    return bind_inputs(signature(value), pa.schema(list(schema.items())), bindings)[0]


@pytest.mark.parametrize(
    ("value", "column", "trailing", "lists"),
    [
        pytest.param(spec(shape=(None,)), FLOAT, (), False, id="a vector takes its column"),
        pytest.param(spec(shape=(None, 1)), FLOAT, (1,), False, id="one column [N, 1]"),
        pytest.param(spec(shape=(None, 1)), pa.float64(), (1,), False, id="rounding is allowed"),
        pytest.param(spec(shape=(None,)), pa.int32(), (), False, id="whole numbers feed floats"),
        pytest.param(spec(shape=(None,)), pa.bool_(), (), False, id="booleans feed floats"),
        pytest.param(spec(shape=(None,)), pa.decimal128(9, 2), (), False, id="decimals too"),
        pytest.param(
            spec("tensor(int64)", (None,)), pa.uint64(), (), False, id="integers are checked later"
        ),
        pytest.param(
            spec("tensor(string)", (None, 1)),
            pa.dictionary(pa.int8(), pa.string()),
            (1,),
            False,
            id="dictionaries are strings",
        ),
        pytest.param(spec(), pa.list_(FLOAT, 3), (3,), True, id="fixed-size list"),
        pytest.param(spec(), pa.list_(pa.float64()), (3,), True, id="list, lengths checked later"),
        pytest.param(spec(), pa.large_list(FLOAT), (3,), True, id="large list"),
        pytest.param(
            spec(shape=(None, None)), pa.list_(FLOAT, 7), (7,), True, id="the list settles a width"
        ),
        pytest.param(
            spec(shape=(None, 3, 4)), pa.list_(FLOAT, 12), (3, 4), True, id="flat list for a cube"
        ),
        pytest.param(
            spec(shape=(None, 3, 4)),
            pa.list_(pa.list_(FLOAT), 3),
            (3, 4),
            True,
            id="nested list for a cube",
        ),
    ],
)
def test_an_input_takes_the_column_of_its_name(value, column, trailing, lists):
    plan = bind(value, {"other": FLOAT, "input": column})

    assert (plan.columns, plan.trailing, plan.lists) == (("input",), trailing, lists)


def test_many_columns_feed_one_matrix_in_the_order_that_the_job_says():
    plan = bind(spec(), {"a": FLOAT, "b": FLOAT, "c": FLOAT}, columns=("c", "a", "b"))

    assert plan.columns == ("c", "a", "b")
    assert plan.trailing == (3,)


def test_named_columns_settle_an_open_width():
    assert bind(
        spec(shape=(None, None)), {"a": FLOAT, "b": FLOAT}, columns=("a", "b")
    ).trailing == (2,)


def test_loose_columns_are_never_bound_by_guess_but_offered_as_a_snippet():
    schema = {"id": pa.int64(), "a": FLOAT, "b": FLOAT, "c": FLOAT, "name": pa.string()}

    with pytest.raises(InvalidJob) as caught:
        bind(spec(), schema)

    assert caught.value.reason is Reason.SCHEMA_MISMATCH
    assert "'input' is tensor(float)[N, 3] and takes 3 value(s) a row" in caught.value.message
    assert "'id', 'a', 'b', 'c'" in caught.value.message
    pasted = yaml.safe_load(caught.value.message[caught.value.message.index("spec:\n") :])
    assert pasted == {
        "spec": {"model": {"inputs": [{"name": "input", "columns": ["a", "b", "c"]}]}}
    }


DEEP = pa.struct([(f"field_{n}", FLOAT) for n in range(1000)])


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        pytest.param(
            {"id;x": pa.string()}, "the input's columns are 'id;x' (string)", id="another delimiter"
        ),
        pytest.param(
            {"id": pa.int64(), "day": pa.date32(), "tags": pa.list_(pa.string())},
            "'id' (int64), 'day' (date32[day]), 'tags' (list<item: string>)",
            id="of every type",
        ),
        pytest.param({}, "no rows that would say which columns there are", id="none at all"),
        pytest.param({"a" * 5000: FLOAT}, f"'{'a' * 97}...' (float)", id="a name without end"),
        pytest.param(
            {f"column_{n}": FLOAT for n in range(5000)}, " and 4950 more", id="columns without end"
        ),
        pytest.param({"nested": DEEP}, "...)", id="a type without end"),
    ],
)
@pytest.mark.parametrize("shape", [(None, 2), (None,)])
def test_a_refusal_shows_which_columns_there_are(columns, says, shape):
    with pytest.raises(InvalidJob) as caught:
        bind(spec(shape=shape), columns)

    assert says in caught.value.message
    assert len(caught.value.message) < 8000


SOME = {"id": pa.int64(), "a": FLOAT}


@pytest.mark.parametrize(
    ("shape", "schema", "columns"),
    [
        pytest.param((None, 2), SOME, ["id", "a"], id="enough scalar columns"),
        pytest.param((None, 48), SOME, ["<column>"], id="too few scalar columns"),
        pytest.param((None, 2), {"a": FLOAT, "of_2": LIST_OF_2}, ["of_2"], id="a list instead"),
        pytest.param((None, 3), {"a": FLOAT, "of_2": LIST_OF_2}, ["<column>"], id="a short list"),
        pytest.param((None, 1, 1), SOME, ["<column>"], id="no scalars for more dimensions"),
        pytest.param(
            (None, 1, 2), {**SOME, "l": LIST_OF_2, "m": LIST_OF_2}, ["l"], id="one list of two"
        ),
        pytest.param((None, None), {"ragged": pa.list_(FLOAT)}, ["<column>"], id="an open width"),
    ],
)
def test_what_is_suggested_would_be_accepted(shape, schema, columns):
    with pytest.raises(InvalidJob) as caught:
        bind(spec(shape=shape), schema)

    pasted = yaml.safe_load(caught.value.message[caught.value.message.index("spec:\n") :])
    suggested = pasted["spec"]["model"]["inputs"][0]["columns"]
    assert suggested == columns
    if columns != ["<column>"]:
        assert bind(spec(shape=shape), schema, columns=tuple(columns)).columns == tuple(columns)
    assert ("scalar columns" in caught.value.message) is (len(shape) <= 2)


@pytest.mark.parametrize(
    ("value", "schema", "binding", "reason", "words"),
    [
        pytest.param(
            spec(shape=(None,)),
            {"input": pa.string()},
            {},
            Reason.SCHEMA_MISMATCH,
            ["'input' is string", "tensor(float)[N]", "CAST"],
            id="text for a float",
        ),
        pytest.param(
            spec("tensor(int64)", (None,)),
            {"input": pa.float64()},
            {},
            Reason.SCHEMA_MISMATCH,
            ["'input' is double", "tensor(int64)[N]", "an integer column"],
            id="floats for an integer",
        ),
        pytest.param(
            spec("tensor(bool)", (None,)),
            {"input": pa.int8()},
            {},
            Reason.SCHEMA_MISMATCH,
            ["a boolean column"],
            id="integers for a boolean",
        ),
        pytest.param(
            spec("tensor(string)", (None,)),
            {"input": pa.int64()},
            {},
            Reason.SCHEMA_MISMATCH,
            ["a string column"],
            id="integers for text",
        ),
        pytest.param(
            spec(shape=(None,)),
            {"input": pa.timestamp("us")},
            {},
            Reason.SCHEMA_MISMATCH,
            ["timestamp[us]"],
            id="time for a float",
        ),
        pytest.param(
            spec(),
            {"input": pa.list_(FLOAT, 4)},
            {},
            Reason.SCHEMA_MISMATCH,
            ["fixed_size_list", "tensor(float)[N, 3]"],
            id="a list of another width",
        ),
        pytest.param(
            spec(shape=(None, None)),
            {"input": pa.list_(FLOAT)},
            {},
            Reason.SCHEMA_MISMATCH,
            ["tensor(float)[N, ?]", "fixed_size_list column must settle", "list_resize("],
            id="nobody says the width",
        ),
        pytest.param(
            spec(shape=(None,)),
            {"input": pa.list_(FLOAT, 3)},
            {},
            Reason.SCHEMA_MISMATCH,
            ["takes one value a row"],
            id="a list for a vector",
        ),
        pytest.param(
            spec(shape=(None, None)),
            {"input": FLOAT},
            {},
            Reason.SCHEMA_MISMATCH,
            ["any number of"],
            id="a lone column for an open width",
        ),
        pytest.param(
            spec(),
            {"a": FLOAT, "b": FLOAT},
            {"columns": ("a", "b")},
            Reason.SCHEMA_MISMATCH,
            ["takes 3 value(s) a row", "binds 2 scalar column(s)"],
            id="too few columns",
        ),
        pytest.param(
            spec(shape=(None, 2)),
            {"a": FLOAT, "l": pa.list_(FLOAT)},
            {"columns": ("a", "l")},
            Reason.SCHEMA_MISMATCH,
            ["column 'l' is list<", "together with other columns", "column l[1]"],
            id="a list beside a column",
        ),
        pytest.param(
            spec(shape=(None, 4)),
            {"l": LIST_OF_2, "m": LIST_OF_2},
            {"columns": ("l", "m")},
            Reason.SCHEMA_MISMATCH,
            ["column 'l' is fixed_size_list<", "together with other columns", "column l[1]"],
            id="lists that make up the width",
        ),
        pytest.param(
            spec(shape=(None, None)),
            {"a": FLOAT, "l": LIST_OF_2},
            {"columns": ("a", "l")},
            Reason.SCHEMA_MISMATCH,
            ["column 'l' is fixed_size_list<", "together with other columns", "column l[1]"],
            id="a fixed-size list beside a column",
        ),
        pytest.param(
            spec(),
            {"a": FLOAT},
            {"columns": ("a", "b", "c")},
            Reason.SCHEMA_MISMATCH,
            ["'b'", "the columns are 'a'"],
            id="a column that is not there",
        ),
        pytest.param(
            spec("tensor(bfloat16)", (None,)),
            {"input": FLOAT},
            {},
            Reason.MODEL_UNSUPPORTED,
            ["bfloat16", "float16"],
            id="bfloat16",
        ),
        pytest.param(
            spec(shape=None),
            {"input": FLOAT},
            {},
            Reason.MODEL_UNSUPPORTED,
            ["batch dimension"],
            id="a scalar input",
        ),
        pytest.param(
            spec("tensor(int64)", (None,)),
            {"input": pa.int64()},
            {"columns": ("input",), "nulls": NullPolicy.NAN},
            Reason.INVALID_SPEC,
            ["has no NaN", "fillValue"],
            id="NaN for an integer",
        ),
        pytest.param(
            spec("tensor(int8)", (None,)),
            {"input": pa.int64()},
            {"columns": ("input",), "fill_value": "300"},
            Reason.INVALID_SPEC,
            ["fillValue is not a int8"],
            id="a fill value out of range",
        ),
        pytest.param(
            spec(shape=(None, 2)),
            {"tenure": FLOAT, " Plan": FLOAT},
            {"columns": ("tenure", "plan")},
            Reason.SCHEMA_MISMATCH,
            ["'plan', which does not exist; did you mean ' Plan'? the columns are 'tenure'"],
            id="a column that is nearly there",
        ),
        pytest.param(
            spec(shape=(None, 2)),
            {},
            {"columns": ("tenure", "plan")},
            Reason.SCHEMA_MISMATCH,
            ["the input has no rows"],
            id="no columns at all",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_do(value, schema, binding, reason, words):
    with pytest.raises(InvalidJob) as caught:
        bind(value, schema, **binding)

    assert caught.value.reason is reason
    for word in words:
        assert word in caught.value.message


def test_a_model_without_inputs_is_refused():
    with pytest.raises(InvalidJob, match="the model has no inputs") as caught:
        bind_inputs(signature(), pa.schema([("a", FLOAT)]))

    assert caught.value.reason is Reason.MODEL_UNSUPPORTED


def test_a_binding_for_an_input_that_the_model_lacks_is_refused():
    with pytest.raises(InvalidJob, match="names 'inptu', but the model's inputs are 'input'"):
        bind_inputs(
            signature(spec()),
            pa.schema([("a", FLOAT)]),
            [ModelInputBinding(name="inptu", columns=("a",))],
        )


@pytest.mark.parametrize(
    ("type_", "text", "fill"),
    [("tensor(float)", "1.5", 1.5), ("tensor(int64)", "-7", -7), ("tensor(string)", "", ""),
     ("tensor(bool)", "true", True), ("tensor(float)", "-inf", -math.inf)],
)  # fmt: skip
def test_fill_values_are_read_as_the_input_wants_them(type_, text, fill):
    column = {"tensor(string)": pa.string(), "tensor(bool)": pa.bool_()}.get(type_, pa.int64())
    plan = bind(spec(type_, (None,)), {"input": column}, columns=("input",), fill_value=text)

    assert plan.fill == fill


@pytest.mark.parametrize(
    ("type_", "text"),
    [("tensor(float)", "1e39"), ("tensor(float16)", "-70000"), ("tensor(double)", "1e400"),
     ("tensor(float)", "1_0"), ("tensor(int8)", "1_0"), ("tensor(int8)", "٣")],
)  # fmt: skip
def test_a_fill_value_that_would_become_another_is_refused(type_, text):
    with pytest.raises(InvalidJob, match="fillValue is not a "):
        bind(spec(type_, (None,)), {"input": pa.int64()}, columns=("input",), fill_value=text)


def test_nulls_may_become_nan():
    plan = bind(spec(shape=(None,)), {"input": FLOAT}, columns=("input",), nulls=NullPolicy.NAN)

    assert math.isnan(plan.fill)


def test_inputs_that_fix_different_batch_sizes_are_refused():
    values = signature(spec(shape=(2,), name="a"), spec(shape=(3,), name="b"))
    plans = bind_inputs(values, pa.schema([("a", FLOAT), ("b", FLOAT)]))

    assert fixed_batch(plans[:1]) == 2
    with pytest.raises(InvalidJob, match="symbolic batch dimension"):
        fixed_batch(plans)
