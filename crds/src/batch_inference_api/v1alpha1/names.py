"""Strings with a meaning of their own: columns, expressions, and names of Kubernetes objects."""

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from batch_inference_api.v1alpha1.resource import ResourceModel, matching

JOB_NAME_PATTERN = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
JOB_NAME_LENGTH = 52
"""Leaves room for what a run's Job and its pods append, within the 63 characters of a label."""
JOB_NAME_EXPECTATION = (
    f"must have at most {JOB_NAME_LENGTH} lower-case letters, digits and '-', and begin and end "
    "with a letter or digit"
)
_OBJECT_NAME_PATTERN = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"

ColumnName = Annotated[str, Field(min_length=1, max_length=256)]
Expression = Annotated[str, Field(min_length=1, max_length=4096)]
ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253, json_schema_extra={"pattern": _OBJECT_NAME_PATTERN}),
    matching(
        _OBJECT_NAME_PATTERN,
        "must have lower-case letters, digits, '-' and '.', and begin and end with a letter or "
        "digit",
    ),
]
_LABEL_PATTERN = "[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
_LABEL_KEY_PATTERN = f"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?{_LABEL_PATTERN}$"
_LABEL_VALUE_PATTERN = f"^({_LABEL_PATTERN})?$"
_LABEL_EXPECTATION = "letters, digits, '-', '_' and '.', and begin and end with a letter or digit"
_LABEL_KEY_EXPECTATION = (
    f"must be the key of a label such as zone or example.com/zone: have {_LABEL_EXPECTATION}"
)
LabelKey = Annotated[
    str,
    Field(min_length=1, max_length=316, json_schema_extra={"pattern": _LABEL_KEY_PATTERN}),
    matching(_LABEL_KEY_PATTERN, _LABEL_KEY_EXPECTATION),
]
LabelValue = Annotated[
    str,
    Field(max_length=63, json_schema_extra={"pattern": _LABEL_VALUE_PATTERN}),
    matching(_LABEL_VALUE_PATTERN, f"must have {_LABEL_EXPECTATION}"),
]
Labels = dict[Annotated[str, Field(min_length=1, max_length=316)], LabelValue]
"""A structural schema says nothing about keys: `problems_of_keys` does."""


def is_label_key(text: str) -> bool:
    """Whether it is a qualified name, as keys of labels and of taints and resources are."""
    return re.fullmatch(_LABEL_KEY_PATTERN, text) is not None


def problems_of_keys(labels: Labels) -> Iterator[str]:
    """Say which keys are no keys of labels."""
    for key in labels:
        if not is_label_key(key):
            yield f"{key!r} {_LABEL_KEY_EXPECTATION}"


class SecretReference(ResourceModel):
    """A Secret of the job's own namespace."""

    name: ObjectName
    """Name of the Secret. Its keys are those that the store's own tools use, such as
    `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION` and
    `AWS_ENDPOINT_URL`."""
