"""Which keys a store accepts."""

from __future__ import annotations

_FORBIDDEN = frozenset(("", ".", ".."))


def check_key(key: str) -> None:
    """Raise ValueError for a key that could lead out of a store's root."""
    if "\0" in key or not _FORBIDDEN.isdisjoint(key.split("/")):
        raise ValueError(f"{key!r} is not a key: it has empty, '.' or '..' parts")
