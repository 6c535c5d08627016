"""Imports pydantic without what no manifest needs: the first row waits for it, 40 ms instead of 85.

What is left out is in how its modules are made, not in what they do: it reads, refuses and writes
the same. Whoever imports pydantic before this has it as it comes.
"""

from __future__ import annotations

import os
import sys
from _operator import _compare_digest
from typing import TYPE_CHECKING, Any

from batch_inference_runner import lean_imports

# Of bytecode, `inspect` wants to know at once what the flags are called; and nothing of tokens.
_FLAGS = (
    *("OPTIMIZED", "NEWLOCALS", "VARARGS", "VARKEYWORDS", "NESTED", "GENERATOR", "NOFREE"),
    *("COROUTINE", "ITERABLE_COROUTINE", "ASYNC_GENERATOR"),
)
FLAG_NAMES = {1 << bit: name for bit, name in enumerate(_FLAGS)}
with (
    lean_imports.deferred("dis", COMPILER_FLAG_NAMES=FLAG_NAMES),
    lean_imports.deferred("tokenize"),
):
    import dataclasses

if sys.version_info >= (3, 12):
    import typing as typed_dicts
else:
    import typing_extensions as typed_dicts

if TYPE_CHECKING:
    from collections.abc import Callable


def load() -> None:
    """Import pydantic, if nobody has done so yet."""
    if "pydantic_core" in sys.modules:
        return
    with lean_imports.replaced_in(typed_dicts, TypedDict=_UNTYPED):
        import pydantic_core.core_schema  # noqa: F401 - imported here so that it stays so
    with (
        lean_imports.replaced_in(dataclasses, dataclass=_plain_dataclass),
        # It loads OpenSSL. This is what it has of `hmac` where there is none.
        lean_imports.replaced("secrets", compare_digest=_compare_digest),
        # Asked by `uuid` for one word, with a dozen regular expressions to find more.
        lean_imports.replaced("platform", system=lambda: os.uname().sysname),
        # A type of field that no model has; it reads the configuration that Python was built with.
        lean_imports.replaced("zoneinfo", ZoneInfo=_NoZone, ZoneInfoNotFoundError=KeyError),
    ):
        import pydantic.fields
        import pydantic.functional_validators
        import pydantic.main
        import pydantic.types  # noqa: F401 - these import all that models need


class _NoZone:
    """No field is of this type."""


class _Untyped(type):
    """Gives whoever derives from its class that class again, which is a dict and no more.

    By 90 TypedDicts pydantic_core tells type checkers what a schema holds: a thousand annotations,
    each of which would be compiled.
    """

    def __new__(cls, _name: str, bases: tuple[type, ...], *_: object, **_options: object) -> Any:
        return bases[0]


_UNTYPED = type.__new__(_Untyped, "_UNTYPED", (dict,), {})

_dataclass: Callable[..., Any] = dataclasses.dataclass


def _plain_dataclass(cls: type | None = None, /, *, kw_only: bool = False, **_: bool) -> Any:
    """Make a dataclass with an `__init__` and no more.

    Nobody compares, shows or changes the forty of pydantic and annotated_types, and each method
    that a dataclass gets is compiled from a text that is put together for it.
    """
    return _dataclass(cls, repr=False, eq=False, kw_only=kw_only)
