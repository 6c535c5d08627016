"""A RunnerConfig as a scorer reads it, without pydantic.

The driver has validated the config and writes it whole, with every default in it. A scorer that
imported pydantic only to read it back would score its first row 60 ms later. A test compares the
view with the model, field by field.
"""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from batch_inference_api.choices import (
    DataFormat,
    NewlinesInValues,
    NonFinitePolicy,
    NullPolicy,
    OnError,
    OutputMode,
)

if TYPE_CHECKING:
    from batch_inference_api.runner_contract import RunnerConfig

_CHOICES: dict[str, type[str]] = {
    "format": DataFormat,
    "mode": OutputMode,
    "newlinesInValues": NewlinesInValues,
    "nonFinite": NonFinitePolicy,
    "nulls": NullPolicy,
    "onError": OnError,
}


def read_config(document: str) -> RunnerConfig:
    """Read the JSON of a config that a driver of this same version wrote."""
    return cast("RunnerConfig", _view(json.loads(document)))


def pin_batch_size(config: RunnerConfig, batch_size: int) -> RunnerConfig:
    """Use the batch size that was found while planning."""
    execution = SimpleNamespace(**{**vars(config.execution), "batch_size": batch_size})
    return cast("RunnerConfig", SimpleNamespace(**{**vars(config), "execution": execution}))


def _view(value: Any) -> Any:
    if isinstance(value, dict):
        return SimpleNamespace(**{_snake(key): _member(key, each) for key, each in value.items()})
    if isinstance(value, list):
        return tuple(_view(each) for each in value)
    return value


def _member(key: str, value: Any) -> Any:
    return _CHOICES[key](value) if key in _CHOICES else _view(value)


def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter.group().lower()}", name)
