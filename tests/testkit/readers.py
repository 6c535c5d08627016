"""The two kinds of reader of an output: of the manifest, and of a plain `part-*` glob.

Rows in these tests are lines `<shard> <row> <attempt>`; both readers give (shard, row) pairs.
"""

from __future__ import annotations

import json


def read_by_manifest(store) -> list[tuple[str, str]]:
    """Rows of the files that `_SUCCESS` lists."""
    manifest = json.loads(store.get("_SUCCESS"))
    return sorted(row for file in manifest["files"] for row in rows_of(store.get(file["path"])))


def read_by_glob(store) -> list[tuple[str, str]]:
    """Rows of all `part-*` files outside hidden folders."""
    return sorted(row for key in glob_parts(store) for row in rows_of(store.get(key)))


def glob_parts(store) -> list[str]:
    """What `**/part-*` finds, skipping hidden folders as Spark and Hive do."""
    return [
        info.key
        for info in store.list()
        if info.key.rpartition("/")[2].startswith("part-")
        and not any(name.startswith(("_", ".")) for name in info.key.split("/"))
    ]


def visible_bytes(store) -> dict[str, bytes]:
    """Everything but what the commit protocol keeps for itself, byte for byte."""
    return {info.key: store.get(info.key) for info in store.list() if info.key[:5] != "_bij/"}


def rows_of(body: bytes) -> list[tuple[str, str]]:
    """The (shard, row) pairs in the bytes of a file."""
    return [tuple(line.split()[:2]) for line in body.decode().splitlines()]
