"""Values that users wrote, in the words of Kubernetes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batch_inference_api.v1alpha1.resource import ResourceModel


def as_plain(value: ResourceModel) -> dict[str, Any]:
    """What the user wrote, as a fresh dict, without the fields that were left out."""
    return value.model_dump(mode="json", by_alias=True, exclude_defaults=True)
