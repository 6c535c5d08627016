"""Idle scorers get what the busiest one has not begun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_runner.score.messages import Withdraw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch_inference_runner.schedule.slot import Slot


def rebalance(ready: Sequence[Slot]) -> None:
    """Ask the busiest scorer for half of what it has not begun, if another one is idle."""
    if all(slot.assigned for slot in ready):
        return
    asked = [slot for slot in ready if not slot.withdrawing]
    busiest = max(asked, key=lambda slot: len(slot.assigned) - len(slot.started), default=None)
    if busiest is None:
        return
    spare = len(busiest.assigned) - len(busiest.started)
    if spare > 0:
        busiest.withdrawing = True
        busiest.send(Withdraw((spare + 1) // 2))
