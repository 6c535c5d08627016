"""What is wrong with a manifest, field by field, in words for the person who wrote it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from pydantic import ValidationError
from pydantic_core import to_json

from batch_inference_api.v1alpha1.job import BatchInferenceJob
from batch_inference_api.v1alpha1.resource import BROKEN_RULES, ResourceModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

Path = tuple[str | int, ...]


class Problem(NamedTuple):
    """One thing to change; `path` leads to the field, as keys and list indexes."""

    path: Path
    message: str
    breaks_schema: bool = False
    """Whether this release's CRD would have refused it, so that another release's is installed."""

    @property
    def field(self) -> str:
        """The path as people write it: `spec.model.outputs[0].index`."""
        return dotted(self.path)


class InvalidManifest(ValueError):
    """The manifest is not a BatchInferenceJob."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(f"{problem.field}: {problem.message}" for problem in problems))
        self.problems = problems


def parse_job(manifest: Mapping[str, Any]) -> BatchInferenceJob:
    """Read a manifest of plain values, with unknown fields refused.

    Raises:
        InvalidManifest: lists every problem found.
    """
    try:
        # JSON, because strict Python input would want members of enums rather than their values.
        return BatchInferenceJob.model_validate_json(to_json(manifest))
    except ValidationError as error:
        raise InvalidManifest(tuple(_problems(error))) from error


def dotted(path: Path) -> str:
    """The path as people write it."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif "." in part or "/" in part:
            text += f'["{part}"]'
        else:
            text += f".{part}" if text else part
    return text


def _problems(error: ValidationError) -> Iterator[Problem]:
    details = error.errors(include_url=False)
    paths = [tuple(part for part in detail["loc"] if part != "[key]") for detail in details]
    for path, detail in zip(paths, details, strict=True):
        context = detail.get("ctx", {})
        if detail["type"] == "too_short" and any(_is_below(other, path) for other in paths):
            continue  # entries that were refused are not counted: the list need not be too short
        if detail["type"] == BROKEN_RULES:
            for field, message in context["broken"]:
                yield Problem((*path, *filter(None, field.split("."))), message)
        elif detail["type"] == "extra_forbidden":
            yield Problem(path, _unknown_field(path), breaks_schema=True)
        else:
            explain = _EXPLANATIONS.get(detail["type"])
            value = detail["input"]
            message = explain(value, context) if explain else detail["msg"]
            yield Problem(path, message, breaks_schema=detail["type"] in _SCHEMA_ERRORS)


_SCHEMA_ERRORS = ("missing", "enum", "literal_error")


def _is_below(path: Path, parent: Path) -> bool:
    return len(path) > len(parent) and path[: len(parent)] == parent


def _unknown_field(path: Path) -> str:
    known = _fields_at(path[:-1])
    if close := _close(str(path[-1]).replace("_", ""), known):
        return f"there is no such field; did you mean {close!r}?"
    return f"there is no such field; there are {', '.join(known)}"


def _close(word: str, known: Sequence[str]) -> str | None:
    """Which of the known words was probably meant; case says little about that."""
    import difflib

    lowered = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), lowered, n=1)
    return lowered[close[0]] if close else None


def _fields_at(path: Path) -> list[str]:
    """Names of the fields of the object that `path` leads to."""
    model: type[ResourceModel] = BatchInferenceJob
    for part in path:
        if isinstance(part, int):
            continue
        annotation = next(
            field.annotation for field in model.model_fields.values() if field.alias == part
        )
        model = next(_models_in(annotation))
    return [field.alias or name for name, field in model.model_fields.items()]


def _models_in(annotation: Any) -> Iterator[type[ResourceModel]]:
    if isinstance(annotation, type) and issubclass(annotation, ResourceModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _kind_of(value: Any) -> str:
    """What was written instead; never more than a few characters of it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, int | float):
        return f"the number {_short(str(value))}"
    if isinstance(value, str):
        return f"the text {_quoted(value)}"
    return "a list" if isinstance(value, list | tuple) else "a mapping"


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def _quoted(value: Any) -> str:
    """The value as written, unless it may hold a password or a signature."""
    if isinstance(value, str) and ("@" in value or "?" in value):
        return "(not shown)"
    return repr(_short(str(value))) if isinstance(value, str | int) else _kind_of(value)


def _text_expected(value: Any, _context: Mapping[str, Any]) -> str:
    if isinstance(value, bool):
        words = "y, yes, on and true" if value else "n, no, off and false"
        return f"must be text, not {_kind_of(value)}, as YAML reads {words}: put it in quotes"
    if isinstance(value, int | float):
        return f"must be text, not {_kind_of(value)}: put it in quotes"
    return f"must be text, not {_kind_of(value)}"


def _choice_expected(value: Any, context: Mapping[str, Any]) -> str:
    choices = context["expected"].replace("'", "").replace(" or ", ", ")
    if isinstance(value, str):
        close = _close(value, choices.split(", "))
        hint = f"; did you mean {close!r}?" if close else ""
        return f"{_quoted(value)} is not one of {choices}{hint}"
    return f"must be one of {choices}, not {_kind_of(value)}"


def _expected(what: str) -> Callable[[Any, Mapping[str, Any]], str]:
    return lambda value, _context: f"must be {what}, not {_kind_of(value)}"


def _length(what: str, key: str, one: str, more: str) -> Callable[[Any, Mapping[str, Any]], str]:
    return lambda _value, context: (
        f"must have {what} {context[key]} {one if context[key] == 1 else more}"
    )


def _shorter_expected(value: Any, context: Mapping[str, Any]) -> str:
    expected = _length("at most", "max_length", "character", "characters")(value, context)
    if re.fullmatch(r"\\\w", value):
        return f'{expected}: {value} is one in double quotes only, "{value}"'
    return expected


_EXPLANATIONS: dict[str, Callable[[Any, Mapping[str, Any]], str]] = {
    "missing": lambda _value, _context: "is required",
    "string_type": _text_expected,
    "int_type": _expected("a whole number"),
    "int_from_float": _expected("a whole number"),
    "int_parsing_size": _expected("a smaller number"),
    "bool_type": _expected("true or false"),
    "list_type": _expected("a list"),
    "tuple_type": _expected("a list"),
    "dict_type": _expected("a mapping"),
    "mapping_type": _expected("a mapping"),
    "model_type": _expected("a mapping"),
    "model_attributes_type": _expected("a mapping"),
    "enum": _choice_expected,
    "literal_error": _choice_expected,
    "greater_than_equal": lambda value, context: f"must be at least {context['ge']}, not {value}",
    "less_than_equal": lambda value, context: f"must be at most {context['le']}, not {value}",
    "string_too_short": _length("at least", "min_length", "character", "characters"),
    "string_too_long": _shorter_expected,
    "too_short": _length("at least", "min_length", "entry", "entries"),
    "too_long": _length("at most", "max_length", "entry", "entries"),
    "value_error": lambda _value, context: str(context["error"]),
}
