"""A pod of the model of a cluster, and what may happen to it and to others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from batch_inference_operator.observation import RunPod


@dataclass
class Pod:
    """A pod, and what the operator cannot see of it: whether its node is lost."""

    seen: RunPod
    is_lost: bool = False

    def change(self, **changes: Any) -> None:
        self.seen = replace(self.seen, **changes)

    @property
    def is_kept(self) -> bool:
        """Whether only its sidecar runs."""
        return self.seen.termination is not None and not self.seen.is_over

    @property
    def is_up(self) -> bool:
        return self.seen.running_since is not None and not self.seen.is_over


@dataclass(frozen=True)
class Move:
    """Something that may happen next."""

    name: str
    make: Callable[[], None]
