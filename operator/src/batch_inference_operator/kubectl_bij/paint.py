"""Colours, as escape codes of terminals or as nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TextIO

from batch_inference_operator.kubectl_bij.standing import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch_inference_operator.kubectl_bij.standing import Standing


class Tone(StrEnum):
    """What a text means to the reader; the value is its escape code."""

    PLAIN = ""
    STRONG = "1"
    QUIET = "2"
    GOOD = "1;32"
    TROUBLE = "1;33"
    BAD = "1;31"


@dataclass(frozen=True, slots=True)
class Paint:
    """Paints, or leaves text as it is."""

    is_on: bool = False

    def __call__(self, text: str, tone: Tone) -> str:
        return f"\033[{tone}m{text}\033[0m" if self.is_on and tone and text else text


def choose_paint(stream: TextIO, environment: Mapping[str, str]) -> Paint:
    """Colours on a terminal only, and not where NO_COLOR asks for none (no-color.org)."""
    return Paint(is_terminal(stream, environment) and not environment.get("NO_COLOR"))


def is_terminal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether lines can be drawn again in their place."""
    return stream.isatty() and environment.get("TERM") != "dumb"


def tone_of(standing: Standing) -> Tone:
    """How a job's state is painted."""
    if standing.has_trouble or standing.state in (State.UNSEEN, State.DELETING):
        return Tone.TROUBLE
    return {State.COMPLETE: Tone.GOOD, State.FAILED: Tone.BAD}.get(standing.state, Tone.STRONG)
