"""What would make every process that reads a job build more than it needs, and read the same."""

from __future__ import annotations

import pkgutil
import sys
from importlib import import_module

import pytest
from pydantic import BaseModel
from pydantic.alias_generators import to_camel

import batch_inference_api
from batch_inference_api.v1alpha1.resource import ResourceModel

MODULES = [
    import_module(module.name)
    for module in pkgutil.walk_packages(batch_inference_api.__path__, "batch_inference_api.")
]
MODELS = [
    value
    for module in MODULES
    for value in vars(module).values()
    if isinstance(value, type)
    and issubclass(value, BaseModel)
    and value.__module__ == module.__name__
]
PARTS = [
    pytest.param(field.default_factory, id=f"{model.__name__}.{name}")
    for model in MODELS
    if issubclass(model, ResourceModel)
    for name, field in model.model_fields.items()
    if field.default_factory not in (None, dict, list)
]


def test_there_are_models():
    assert len(MODELS) > 50
    assert len(PARTS) > 5


@pytest.mark.parametrize("name", sorted({model.__module__ for model in MODELS}))
def test_annotations_of_models_are_no_text_that_pydantic_would_have_to_compile(name):
    assert "annotations" not in vars(sys.modules[name])


@pytest.mark.parametrize("make", PARTS)
def test_a_part_that_is_left_out_is_made_without_a_validator_of_its_own_and_valid(make):
    part = make()
    assert make == type(part).model_construct
    assert part == type(part).model_validate_json("{}")
    assert part.model_fields_set == set()


@pytest.mark.parametrize("model", MODELS)
def test_the_names_on_the_wire_are_those_that_pydantic_would_make(model):
    aliases = {name: field.alias for name, field in model.model_fields.items()}
    assert aliases == {name: to_camel(name) for name in aliases}
