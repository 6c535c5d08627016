"""What every part of the resource has in common: strict fields, rules, and shared types."""

import re
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from batch_inference_api.camel_case import to_camel

BROKEN_RULES = "broken_rules"
"""Type of the pydantic error that lists broken rules; `ctx["broken"]` lists (field, message)."""


class Rule(NamedTuple):
    """A condition over several fields, said once for the API server and once for Python.

    `cel` sees the object as `self` (and `oldSelf`: such a rule compares with the stored object, so
    it has no `holds`). `field` is the one to blame, in camelCase.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool] | None = None
    field: str = ""


class ResourceModel(BaseModel):
    """One object of the resource: camelCase, frozen, no unknown field, no coercion of types.

    A part that may be left out is then made by its `model_construct`: calling the class would build
    a validator for that part alone, and what is the default is valid.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=False,
        validate_by_alias=True,
        serialize_by_alias=True,
        frozen=True,
        extra="forbid",
        strict=True,
        protected_namespaces=(),
        defer_build=True,
        hide_input_in_errors=True,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()

    def find_problems(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for what no CEL rule can say at a bounded cost."""
        return iter(())

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        broken = [
            (rule.field, rule.message)
            for rule in type(self).rules
            if rule.holds is not None and not rule.holds(self)
        ]
        broken.extend(self.find_problems())
        if broken:
            text = "; ".join(f"{field}: {message}" for field, message in broken)
            raise PydanticCustomError(BROKEN_RULES, "{text}", {"text": text, "broken": broken})
        return self


CANNOT_CHANGE = (
    "cannot change once the job exists: delete the job and create it again, or create another one"
)


def immutable(field: str) -> Rule:
    """Make the rule that an optional field, once the object exists, stays as it is."""
    return Rule(
        f"has(self.{field}) == has(oldSelf.{field})"
        f" && (!has(self.{field}) || self.{field} == oldSelf.{field})",
        f"{field} {CANNOT_CHANGE}",
        field=field,
    )


def matching(pattern: str, expectation: str) -> AfterValidator:
    """Make the check that a string matches `pattern` as a whole, or is refused as `expectation`."""

    def check(value: str) -> str:
        if re.fullmatch(pattern, value) is None:
            raise ValueError(expectation)
        return value

    return AfterValidator(check)


def find_doubles(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names that differ from an earlier one by case at most, in order: columns ignore case."""
    seen: set[str] = set()
    doubles = []
    for name in names:
        if name.lower() in seen:
            doubles.append(name)
        seen.add(name.lower())
    return tuple(doubles)
