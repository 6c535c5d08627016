"""The key of a BatchInferenceJob, by which it is queued and looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from batch_inference_operator.names import JOB_NAME_LABEL, MANAGED_BY, MANAGED_BY_LABEL

if TYPE_CHECKING:
    from collections.abc import Mapping


class Key(NamedTuple):
    """Names one object of a kind."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def key_of(item: Mapping[str, Any]) -> Key:
    """The key of an object as the API server sends it."""
    metadata = item["metadata"]
    return Key(metadata["namespace"], metadata["name"])


def owner_key_of(child: Mapping[str, Any]) -> Key | None:
    """The key of the BatchInferenceJob that a child's labels name; None: it is not one of ours."""
    metadata = child["metadata"]
    labels = metadata.get("labels") or {}
    name = labels.get(JOB_NAME_LABEL)
    if not name or labels.get(MANAGED_BY_LABEL) != MANAGED_BY:
        return None
    return Key(metadata["namespace"], name)
