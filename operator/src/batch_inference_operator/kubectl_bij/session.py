"""What a command is given: a cluster, streams, and a clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from batch_inference_operator.cluster.user_calls import UserCalls


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One call of `kubectl bij`."""

    calls: UserCalls
    out: TextIO
    err: TextIO
    environment: Mapping[str, str]
    now: Callable[[], datetime]
    flags: str = ""
    """What was typed to choose cluster and namespace, to be typed again in the next command."""

    def say(self, text: str) -> None:
        """Print a line of the result, at once."""
        self.out.write(text + "\n")
        self.out.flush()

    def tell(self, text: str) -> None:
        """Print a line beside the result."""
        self.err.write(text + "\n")
        self.err.flush()
