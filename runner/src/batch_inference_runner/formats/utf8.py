"""Whether bytes are text."""

from __future__ import annotations


def is_utf8(text: bytes) -> bool:
    """Say whether all of `text` is valid UTF-8; ASCII, the usual case, is told at memory speed."""
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
