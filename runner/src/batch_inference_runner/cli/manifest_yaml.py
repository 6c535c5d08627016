"""YAML documents -> plain values and the lines they stand in, for input that is not trusted.

Built on the parser's events rather than on its composer, which recurses natively and crashes the
process on deep nesting. Values are those that kubectl sends to a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

import yaml

from batch_inference_runner.cli.yaml_scalars import (
    TAG,
    TAGS,
    Scalar,
    in_json,
    key_text,
    read_scalar,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_VALUES = 100_000
"""Values after every alias is written out: a few nested aliases stand for billions of them."""

Path = tuple[str | int, ...]

_CONTAINER_TAGS = {"seq": f"{TAG}seq", "map": f"{TAG}map"}


class YamlProblem(ValueError):
    """The text is not YAML that a manifest may use; the message begins with line and column."""


class Document(NamedTuple):
    """One document: its value, and the line (from 1) of every value by its path."""

    value: Any
    lines: dict[Path, int]


class _Anchor(NamedTuple):
    value: Any
    values: int


class _Builder:
    """Builds values from events; one for each document, because anchors end with it."""

    def __init__(self, events: Iterator[Any]) -> None:
        self.events = events
        self.lines: dict[Path, int] = {}
        self.anchors: dict[str, _Anchor] = {}
        self.values = 0

    def build(self, event: Any, path: Path) -> Any:
        """Build the value that begins with `event`."""
        self.lines[path] = event.start_mark.line + 1
        if len(path) > MAX_DEPTH:
            _refuse(event, f"nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before = self.values
        self._count(1, event)
        value = self._value(event, path)
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchor(value, self.values - before)
        return value

    def _value(self, event: Any, path: Path) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            return _checked(event, in_json)
        if isinstance(event, yaml.SequenceStartEvent):
            _check_container(event, "seq")
            return self._sequence(path)
        _check_container(event, "map")
        return self._mapping(path)

    def _sequence(self, path: Path) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.build(event, (*path, len(items))))
        return items

    def _mapping(self, path: Path) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        first_lines: dict[str, int] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._key(event, path)
            if key in first_lines:
                _refuse(event, f"{key!r} is set twice, first in line {first_lines[key]}")
            first_lines[key] = event.start_mark.line + 1
            value_event = next(self.events)
            value = self.build(value_event, (*path, key))
            if key == "<<" and event.implicit[0]:
                merged = self._merge(value, value_event)
            else:
                own[key] = value
                self.lines[(*path, key)] = first_lines[key]
        return {**merged, **own}

    def _key(self, event: Any, path: Path) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            _refuse(event, "a key must be plain text")
        key = _checked(event, key_text)
        self.build(event, (*path, "?"))  # counts it, and keeps it if it has an anchor
        return key

    def _merge(self, value: Any, event: Any) -> dict[str, Any]:
        sources = value if isinstance(value, list) else [value]
        merged: dict[str, Any] = {}
        for source in sources:
            if not isinstance(source, dict):
                _refuse(event, "'<<' merges mappings only")
            merged = {**source, **merged}
        return merged

    def _alias(self, event: Any) -> Any:
        anchor = self.anchors.get(event.anchor)
        if anchor is None:
            _refuse(event, f"the alias {event.anchor!r} has no anchor before it")
        self._count(anchor.values, event)
        return anchor.value

    def _count(self, values: int, event: Any) -> None:
        self.values += values
        if self.values > MAX_VALUES:
            _refuse(event, f"stands for more than {MAX_VALUES} values, aliases written out")


def read_documents(text: bytes) -> tuple[Document, ...]:
    """Read every document that is not empty.

    Raises:
        YamlProblem: not UTF-8, not YAML, a key set twice, a tag, or too large.
    """
    if len(text) > MAX_BYTES:
        raise YamlProblem(f"the file is larger than {MAX_BYTES} bytes")
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise YamlProblem(f"line {line}: the file is not UTF-8") from error
    try:
        return tuple(_documents(yaml.parse(decoded, Loader=_loader())))
    except yaml.MarkedYAMLError as error:
        raise YamlProblem(_syntax_error(error, decoded)) from error
    except yaml.YAMLError as error:  # characters that YAML does not allow have no mark
        raise YamlProblem(str(error).splitlines()[0]) from error


def read_value(text: str) -> Any:
    """Read one value as it would stand in a manifest.

    Raises:
        YamlProblem: as for a manifest, or a part of the text would be left out.
    """
    documents = read_documents(text.encode())
    _refuse_what_is_left_out(text)
    return documents[0].value if documents else None


def _refuse_what_is_left_out(text: str) -> None:
    end = 0
    for token in yaml.scan(text, Loader=_loader()):
        comment = text.find("#", end, token.start_mark.index)
        if comment >= 0:
            line = text.count("\n", 0, comment) + 1
            column = comment - text.rfind("\n", 0, comment)
            raise YamlProblem(f"line {line}, column {column}: '#' begins a comment")
        if isinstance(token, yaml.DocumentStartToken | yaml.DocumentEndToken):
            _refuse(token, "'---' and '...' stand between documents, and a value is one")
        end = token.end_mark.index


def _loader() -> Any:
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _documents(events: Iterator[Any]) -> Iterator[Document]:
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            builder = _Builder(events)
            value = builder.build(next(events), ())
            if value is not None:
                yield Document(value, builder.lines)


def _checked(event: yaml.ScalarEvent, use: Callable[[Scalar], T]) -> T:
    try:
        return use(_scalar(event))
    except ValueError as error:
        _refuse(event, str(error))


def _scalar(event: yaml.ScalarEvent) -> Scalar:
    text: str = event.value
    plain, _quoted = event.implicit
    if event.tag in TAGS or (event.tag is None and plain):
        return read_scalar(text, event.tag)
    if event.tag in {None, "!", f"{TAG}str"}:
        return text
    raise ValueError(f"the tag {event.tag!r} is not allowed")


def _check_container(event: Any, kind: str) -> None:
    if event.tag not in {None, "!", _CONTAINER_TAGS[kind]}:
        _refuse(event, f"the tag {event.tag!r} is not allowed")


def _refuse(event: Any, message: str) -> NoReturn:
    mark = event.start_mark
    raise YamlProblem(f"line {mark.line + 1}, column {mark.column + 1}: {message}")


def _syntax_error(error: yaml.MarkedYAMLError, text: str) -> str:
    mark = error.problem_mark or error.context_mark
    place = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
    if mark is not None and text[mark.index : mark.index + 1] == "\t":
        return f"{place}a tab, where YAML takes spaces only"
    context = f" ({error.context})" if error.context else ""
    return f"{place}{error.problem}{context}"
