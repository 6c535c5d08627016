"""Names of fields as they are on the wire."""

from __future__ import annotations


def to_camel(name: str) -> str:
    """`storage_uri` -> `storageUri`, without the five searches of pydantic's own for each field."""
    first, *others = name.split("_")
    return "".join((first, *(word.capitalize() for word in others)))
