"""Measures how long `bij run` takes from the start of its process to the first scored row.

Most of that is imports, whose speed depends on the machine and on who else uses it. So each run is
followed by two of the same machine's own measures: `import numpy` in a process of its own, and
`contenders/first_rows.py`, the floor, timed from outside until it has scored. The ratios are
printed beside the seconds. Files are read from the page cache; .pyc files are written by the first
run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench_throughput import BIJ, BUILD, describe_machine, say
from workload_files import Workload

ROWS = 2_000_000
FLOOR = Path(__file__).with_name("contenders") / "first_rows.py"
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
}


def first_row_seconds(job: Path, output: Path) -> float:
    """Run the job into a fresh output and return when its first row was scored."""
    shutil.rmtree(output, ignore_errors=True)
    command = [BIJ, "run", job, "--output", output]
    subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True)
    manifest = json.loads((output / "_SUCCESS").read_text(encoding="utf-8"))
    seconds: float = manifest["run"]["timings"]["firstRowSeconds"]
    return seconds


def first_words_seconds(*arguments: object) -> float:
    """Start Python with these arguments and return when it has printed a line."""
    began = time.perf_counter()
    command = [sys.executable, *map(str, arguments)]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE) as process:
        if not process.stdout.readline():
            raise SystemExit(f"{command} printed nothing")
        return time.perf_counter() - began


def line(name: str, values: list[float]) -> str:
    least, median, most = min(values), statistics.median(values), max(values)
    return f"| {name} | {least:.3f} | {median:.3f} | {most:.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=BUILD / "bench")
    arguments = parser.parse_args()
    machine = describe_machine()
    workload = Workload(arguments.folder, ROWS)
    say(f"make {ROWS:,} rows")
    workload.make()
    job, output = workload.job(), arguments.folder / "first-row"

    files = ("--data", workload.data, "--model", workload.model, "--output", output)
    measures = {
        "first row scored": lambda: first_row_seconds(job, output),
        "floor: nothing but reading and scoring": lambda: first_words_seconds(FLOOR, *files),
        "`import numpy` alone": lambda: first_words_seconds("-c", "import numpy; print()"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(arguments.runs + 1):
        say(f"run {number} of {arguments.runs}" if number else "warm up")
        for name, measure in measures.items():
            seconds[name].append(measure())
    print(f"\n## First row of {ROWS:,} x 32 float32, MLP 32-128-64-1\n\n{machine}\n")
    print("| | min | median | max |\n|---|---|---|---|")
    first_rows, *others = [values[1:] for values in seconds.values()]
    for name, values in seconds.items():
        print(line(f"{name}, seconds", values[1:]))
    for name, values in zip(list(seconds)[1:], others, strict=True):
        ratios = [first / other for first, other in zip(first_rows, values, strict=True)]
        print(line(f"ratio to {name.partition(':')[0]}, run by run", ratios))


if __name__ == "__main__":
    main()
