"""What JSON Lines say of their columns: the types that most of their values agree on."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from batch_inference_runner.formats.json_values import (
    INT64,
    UINT64,
    BadLine,
    is_unicode,
    parse_line,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

_NULL, _BOOLEAN, _STRING = pa.null(), pa.bool_(), pa.string()
_SIGNED, _UNSIGNED, _REAL = pa.int64(), pa.uint64(), pa.float64()
_NATURAL = pa.uint32()
"""Stands for numbers that int64 and uint64 both hold."""
_NUMBERS = frozenset({_SIGNED, _UNSIGNED, _REAL, _NATURAL})

_Kind = Any
"""One of the types above; a list of the kind of its items; a dict of the kinds of an object's keys.

Objects may be maps with other keys on every line: a dict takes in a few more at no cost, where an
Arrow type would be built anew.
"""


def infer_schema(samples: Iterable[bytes], *, numbers: frozenset[str]) -> pa.Schema:
    """Infer column types from sampled lines, given as texts of whole lines.

    A key has the type that most of its values agree on (int64 and float64 together are float64);
    a key that is always null is a float64 if it is one of `numbers`, else a string. Lines that
    are no objects say nothing, nor do keys that are no Unicode.
    """
    seen: defaultdict[str, _Votes] = defaultdict(_Votes)
    for sample in samples:
        for line in sample.split(b"\n"):
            if not line.strip():
                continue
            try:
                row = parse_line(line)
            except BadLine:
                continue
            for name, kind in _kind_of(row).items():
                seen[name].cast(kind)
    kinds = {name: votes.winner() for name, votes in seen.items()}
    kinds |= {name: _REAL for name in numbers & kinds.keys() if kinds[name] is _NULL}
    return pa.schema([pa.field(name, _arrow_type(kind)) for name, kind in kinds.items()])


class _Votes:
    """How many of a key's values are of which kind; those that one type can hold are of one."""

    def __init__(self) -> None:
        self._kinds: list[_Kind] = []
        self._counts: list[int] = []

    def cast(self, kind: _Kind) -> None:
        if kind is _NULL:
            return
        for index, known in enumerate(self._kinds):
            if _fits(known, kind):
                self._kinds[index] = _merged(known, kind)
                self._counts[index] += 1
                return
        self._kinds.append(kind)
        self._counts.append(1)

    def winner(self) -> _Kind:
        return self._kinds[self._counts.index(max(self._counts))] if self._kinds else _NULL


def _kind_of(value: Any) -> _Kind:
    """Return the kind of a parsed value; null for what says nothing."""
    if isinstance(value, bool):
        return _BOOLEAN
    if isinstance(value, int):
        whole = int(value)
        if whole in INT64:
            return _SIGNED if whole < 0 else _NATURAL
        return _UNSIGNED if whole in UINT64 else _REAL
    if isinstance(value, float):
        return _REAL
    if isinstance(value, str):
        return _STRING
    if isinstance(value, list):
        return _kind_of_list(value)
    if isinstance(value, dict):
        return {name: _kind_of(item) for name, item in value.items() if is_unicode(name)}
    return _NULL


def _kind_of_list(values: list[Any]) -> _Kind:
    item = _NULL
    for value in values:
        kind = _kind_of(value)
        if not _fits(item, kind):
            return _NULL
        item = _merged(item, kind)
    return [item]


def _fits(known: _Kind, kind: _Kind) -> bool:
    """Say if there is a type for values of both; there is none for a number and a string, say."""
    if known is kind or known is _NULL or kind is _NULL:
        return True
    if isinstance(known, dict) and isinstance(kind, dict):
        return all(_fits(known.get(name, _NULL), item) for name, item in kind.items())
    if isinstance(known, list) and isinstance(kind, list):
        return _fits(known[0], kind[0])
    if isinstance(known, pa.DataType) and isinstance(kind, pa.DataType):
        return known in _NUMBERS and kind in _NUMBERS
    return False


def _merged(known: _Kind, kind: _Kind) -> _Kind:
    """Return the kind for values of both, which fit; `known` may have become it."""
    if known is kind or kind is _NULL:
        return known
    if known is _NULL:
        return kind
    if isinstance(known, dict):
        for name, item in kind.items():
            known[name] = _merged(known.get(name, _NULL), item)
        return known
    if isinstance(known, list):
        known[0] = _merged(known[0], kind[0])
        return known
    if _NATURAL in (known, kind):
        return kind if known is _NATURAL else known
    return _REAL


def _arrow_type(kind: _Kind) -> pa.DataType:
    if kind is _NULL:
        return _STRING
    if kind is _NATURAL:
        return _SIGNED
    if isinstance(kind, list):
        return pa.list_(_arrow_type(kind[0]))
    if isinstance(kind, dict):
        return pa.struct([pa.field(name, _arrow_type(item)) for name, item in kind.items()])
    return kind
