"""Columns as messages name them, cut where there are many."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

_MOST_LISTED = 50
_LONGEST_SHOWN = 100


def snippet(name: str, columns: Sequence[str]) -> str:
    """Return YAML that binds `columns` to the input `name`, ready to paste."""
    quoted = ", ".join(json.dumps(column, ensure_ascii=False) for column in columns)
    return (
        "spec:\n  model:\n    inputs:\n"
        f"    - name: {json.dumps(name, ensure_ascii=False)}\n"
        f"      columns: [{quoted}]"
    )


def with_types(schema: pa.Schema) -> str:
    """Return the columns with their types, of very many the first ones."""
    shown = schema.names[:_MOST_LISTED]
    types = (_cut(str(schema.field(place).type)) for place in range(len(shown)))
    texts = [f"{_cut(name)!r} ({type_})" for name, type_ in zip(shown, types, strict=True)]
    return _joined(texts, schema.names)


def listed(names: Sequence[str]) -> str:
    """Return names in quotes, of very many the first ones."""
    return _joined([repr(_cut(name)) for name in names[:_MOST_LISTED]], names) or "none"


def _joined(shown: Sequence[str], of: Sequence[str]) -> str:
    more = f" and {len(of) - len(shown)} more" if len(of) > len(shown) else ""
    return ", ".join(shown) + more


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."
