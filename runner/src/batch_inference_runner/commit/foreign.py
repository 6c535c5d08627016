"""Which visible files of an output location nobody accounts for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_runner.commit.layout import INTERNAL, is_hidden, is_part

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from batch_inference_runner.commit.manifest import Manifest
    from batch_inference_runner.storage.store import Store

_SHOWN = 3


def list_sizes(store: Store) -> dict[str, int]:
    """Return the size of everything below the location but what the protocol keeps for itself."""
    return {info.key: info.size for info in store.list(skip=INTERNAL)}


def accounted_by(manifest: Manifest | None) -> frozenset[str]:
    """Return the keys that a manifest lists, or has promised to delete."""
    return frozenset() if manifest is None else manifest.paths | frozenset(manifest.replaced)


def find_strays(keys: Iterable[str], *, known: Collection[str]) -> tuple[str, ...]:
    """Return keys that a `part-*` glob would take for results, although they are not `known`."""
    return tuple(key for key in keys if is_part(key) and key not in known)


def find_visible(keys: Iterable[str]) -> tuple[str, ...]:
    """Return keys that readers of a folder would take for data, or for rejects."""
    return tuple(key for key in keys if is_part(key) or not is_hidden(key))


def shown(keys: Collection[str]) -> str:
    """Return a few of the keys for a message."""
    some = ", ".join(map(repr, list(keys)[:_SHOWN]))
    return some if len(keys) <= _SHOWN else f"{some} and {len(keys) - _SHOWN} more"
