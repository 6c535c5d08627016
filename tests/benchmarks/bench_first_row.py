"""Measures how long `bij run` takes from the start of its process to the first scored row.

Most of that is imports, whose speed depends on the machine and on who else uses it. So each run is
followed by one of `import numpy` in a process of its own, and the ratio of the two is printed
beside the seconds. Files are read from the page cache; .pyc files are written by the first run.
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


def numpy_seconds() -> float:
    """Start Python, import NumPy, and return how long that took."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import numpy"], env=ENVIRONMENT, check=True)
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

    first_row_seconds(job, output)
    numpy_seconds()
    first_rows, imports = [], []
    for number in range(arguments.runs):
        say(f"run {number + 1} of {arguments.runs}")
        first_rows.append(first_row_seconds(job, output))
        imports.append(numpy_seconds())
    ratios = [first / alone for first, alone in zip(first_rows, imports, strict=True)]
    print(f"\n## First row of {ROWS:,} x 32 float32, MLP 32-128-64-1\n\n{machine}\n")
    print("| | min | median | max |\n|---|---|---|---|")
    print(line("first row scored, seconds", first_rows))
    print(line("`import numpy` alone, seconds", imports))
    print(line("ratio, run by run", ratios))


if __name__ == "__main__":
    main()
