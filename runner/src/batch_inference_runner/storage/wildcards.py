"""Where the wildcards of a glob begin, and how a name is written that only looks like one.

`[*]`, `[?]` and `[[]` stand for the character itself, as in Python's glob and in most shells.
"""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"[*?\[]")
_ESCAPED = re.compile(r"\[([*?\[])\]")
_WILDCARD = re.compile(r"(?<!\[)(?:[*?]|\[(?![*?\[]\]))")


def find_wildcard(pattern: str) -> int | None:
    """Return where the first wildcard begins that is not escaped, None if there is none."""
    match = _WILDCARD.search(pattern)
    return None if match is None else match.start()


def escape(path: str) -> str:
    """Return the pattern that matches the path and nothing else."""
    return _SPECIAL.sub(r"[\g<0>]", path)


def unescape(pattern: str) -> str:
    """Return the path that a pattern without wildcards matches."""
    return _ESCAPED.sub(r"\1", pattern)
