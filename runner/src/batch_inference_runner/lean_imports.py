"""Leaves out of a start what libraries import and no run needs: the first row waits for imports.

Standard library only, and little of it: this is imported before everything else.
"""

from __future__ import annotations

import gc
import re
import sys
from contextlib import ExitStack, contextmanager
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def refuse(*names: str) -> None:
    """Let every later import of these modules fail, as if they were not installed."""
    sys.meta_path.insert(0, _Refusing(frozenset(names)))


class _Refusing:
    """A finder; without its abstract base, which takes 15 ms to import."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname in self._names:
            raise ModuleNotFoundError(f"{fullname} is not needed here", name=fullname)


def replace(name: str, **attributes: Any) -> None:
    """Put a module of just these attributes in the place of one that was not imported yet."""
    sys.modules.setdefault(name, _stand_in(ModuleType, name, attributes))


@contextmanager
def replaced(name: str, **attributes: Any) -> Iterator[None]:
    """Do so for as long as entered: whoever imports the module later gets the real one."""
    with _standing_in(_stand_in(ModuleType, name, attributes)):
        yield


@contextmanager
def deferred(*names: str, **attributes: Any) -> Iterator[None]:
    """Let what is imported while entered have these modules only when it uses more of them.

    `attributes` is what it uses of each at once.
    """
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(_standing_in(_stand_in(_Deferred, name, attributes)))
        yield


class _Deferred(ModuleType):
    """Has the attributes of the module of its name, which it imports when asked for one."""

    def __getattr__(self, attribute: str) -> Any:
        name = self.__name__
        if attribute == "__path__":  # asked for by every `from … import`: it is no package
            raise AttributeError(attribute)
        if sys.modules.get(name) is self:
            del sys.modules[name]
        return getattr(__import__(name), attribute)


def _stand_in(kind: type[ModuleType], name: str, attributes: dict[str, Any]) -> ModuleType:
    module = kind(name, f"Stands in for {name}: see {__name__}.")
    vars(module).update(attributes)
    return module


@contextmanager
def _standing_in(module: ModuleType) -> Iterator[None]:
    """Let this be what is imported by its name, unless something is already."""
    name = module.__name__
    sys.modules.setdefault(name, module)
    try:
        yield
    finally:
        if sys.modules.get(name) is module:
            del sys.modules[name]


@contextmanager
def replaced_in(module: ModuleType, **attributes: Any) -> Iterator[None]:
    """Put these in the place of a module's own for as long as entered."""
    own = {name: getattr(module, name) for name in attributes}
    vars(module).update(attributes)
    try:
        yield
    finally:
        vars(module).update(own)


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector away: imports make many objects, and hardly one is garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.freeze()  # nor is any of them looked at again
            gc.enable()


@contextmanager
def uncompiled() -> Iterator[None]:
    """Let modules have their regular expressions compiled when these are first used, if ever.

    Before the first row few are. Half of what the others take is for one of yaml's, of all the
    characters that are allowed, and libyaml does without it.
    """
    with replaced_in(re, compile=_Uncompiled):
        yield


_compile = re.compile


class _Uncompiled:
    """Stands for a pattern, also where `re` is given it in place of text."""

    __class__ = re.Pattern  # type: ignore[assignment] # what isinstance() is to see

    def __init__(self, *pattern: Any, **flags: Any) -> None:
        self._compile = partial(_compile, *pattern, **flags)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._compile(), name)  # `re` keeps what it has compiled
