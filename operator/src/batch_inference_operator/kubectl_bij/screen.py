"""Lines that are drawn again in their place, as long as nobody else writes to the terminal."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch_inference_operator.kubectl_bij.paint import Paint
    from batch_inference_operator.kubectl_bij.progress_text import Line

_UP_AND_CLEAR = "\033[{}A\r\033[J"


class Screen:
    """A few lines at the end of a terminal."""

    def __init__(self, stream: TextIO, paint: Paint) -> None:
        self._stream = stream
        self._paint = paint
        self._height = 0

    def draw(self, lines: Sequence[Line]) -> None:
        """Replace what was drawn; a line that wrapped would spoil the count, so each is cut."""
        size = shutil.get_terminal_size()
        shown = _fit(lines, size.lines - 1)
        text = "".join(f"{self._paint(text[: size.columns - 1], tone)}\n" for text, tone in shown)
        self._stream.write(self._erase() + text)
        self._stream.flush()
        self._height = len(shown)

    def _erase(self) -> str:
        return _UP_AND_CLEAR.format(self._height) if self._height else ""


def _fit(lines: Sequence[Line], height: int) -> Sequence[Line]:
    if len(lines) <= height:
        return lines
    shown = max(1, height - 1)
    return [*lines[:shown], (f"... and {len(lines) - shown} more", lines[0][1])]
