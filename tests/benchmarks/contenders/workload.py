"""What all contenders do: score 32 float32 columns with an MLP and keep `id` and `score`."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

FEATURES = tuple(f"f{index:02d}" for index in range(32))
MICRO_BATCH_ROWS = 1024
"""Activations of this many rows stay in the L2 cache; larger batches are slower on a CPU."""


def cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0))


def arguments() -> argparse.Namespace:
    """Parse the arguments that every contender takes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


def report(**figures: float) -> None:
    """Tell the harness, as the last line printed."""
    print(json.dumps(figures), flush=True)
