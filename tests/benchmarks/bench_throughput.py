"""Compares `bij run` with a bare ONNX Runtime loop, a plain script and Ray Data on the same rows.

    bench_throughput.py [--profile quick|full] [--folder DIR]

Rounds are interleaved (ABCD, DCBA, ...), scores are compared before any time counts, and ratios are
taken within a round: on a shared machine only these mean something. Prints Markdown and writes
build/bench-<profile>.json. Files are read from the page cache, by all contenders alike.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset
from process_tree import Measured, measure
from stage_costs import measure_stages
from workload_files import Workload

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build"
BIJ = Path(sys.executable).parent / "bij"
BARE, BIJ_RUN, PLAIN, RAY_DATA = "bare loop", "bij run", "plain script", "Ray Data"
CONTENDERS = (BARE, BIJ_RUN, PLAIN, RAY_DATA)
SCRIPTS = {BARE: "bare_loop.py", PLAIN: "plain_script.py", RAY_DATA: "ray_data.py"}
SHARDS_OF_1000_ROWS = 500
UNSTEADY = 0.10


@dataclass(frozen=True)
class Profile:
    """How much is measured."""

    rows: int
    rounds: int
    smaller_rows: int | None


PROFILES = {
    "quick": Profile(rows=2_000_000, rounds=3, smaller_rows=None),
    "full": Profile(rows=10_000_000, rounds=5, smaller_rows=2_000_000),
}


@dataclass(frozen=True)
class Result:
    """One run of one contender."""

    contender: str
    rows: int
    wall_seconds: float
    job_seconds: float
    """Without start-up, as the contender itself measured it."""
    cpu_seconds: float
    peak_bytes: int
    first_row_seconds: float | None = None


class Bench:
    """Runs contenders on workloads below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, contender: str, workload: Workload) -> Result:
        """Run one contender into a fresh output and return what it cost."""
        output = self.output_of(contender)
        shutil.rmtree(output, ignore_errors=True)
        if contender == BIJ_RUN:
            return self.run_bij(workload, output)
        script = HERE / "contenders" / SCRIPTS[contender]
        paths = ("--data", workload.data, "--model", workload.model, "--output", output)
        measured = measure([sys.executable, script, *paths])
        check(contender, measured)
        told = json.loads(measured.output.strip().splitlines()[-1])
        return Result(
            contender,
            workload.rows,
            measured.wall_seconds,
            told["job_seconds"],
            measured.cpu_seconds,
            measured.peak_bytes,
        )

    def run_bij(
        self, workload: Workload, output: Path, rows_per_shard: int | None = None
    ) -> Result:
        """Run `bij run` and read from its manifest when the first row was scored."""
        shutil.rmtree(output, ignore_errors=True)
        measured = measure([BIJ, "run", workload.job(rows_per_shard), "--output", output])
        check(BIJ_RUN, measured)
        manifest = json.loads((output / "_SUCCESS").read_text(encoding="utf-8"))
        first = manifest.get("run", {}).get("timings", {}).get("firstRowSeconds")
        return Result(
            BIJ_RUN,
            workload.rows,
            measured.wall_seconds,
            measured.wall_seconds - (first or 0),
            measured.cpu_seconds,
            measured.peak_bytes,
            first,
        )

    def output_of(self, contender: str) -> Path:
        """Return where a contender writes: a file of scores, or a folder of Parquet."""
        name = contender.replace(" ", "-")
        return self.folder / (f"{name}.npy" if contender == BARE else name)

    def compare(self, contender: str) -> None:
        """Stop unless a contender wrote every id once, with the scores of the bare loop."""
        reference = np.load(self.output_of(BARE))
        table = pyarrow.dataset.dataset(
            self.output_of(contender), format="parquet", ignore_prefixes=["_", "."]
        ).to_table()
        ids = table["id"].to_numpy()
        order = np.argsort(ids)
        if not np.array_equal(ids[order], np.arange(len(reference))):
            sys.exit(f"{contender} did not write every row exactly once")
        scores = table["score"].to_numpy()[order]
        np.testing.assert_allclose(scores, reference, rtol=1e-5, atol=1e-5, err_msg=contender)


def check(contender: str, measured: Measured) -> None:
    """Stop with what a contender printed if it failed."""
    if measured.returncode:
        sys.exit(f"{contender} ended with {measured.returncode}:\n{measured.output[-4000:]}")


def rounds_of(bench: Bench, workload: Workload, rounds: int) -> list[list[Result]]:
    """Run all contenders in alternating order; the first round is for warmth and equality only."""
    for contender in CONTENDERS:
        say(f"check {contender}")
        bench.run(contender, workload)
        if contender != BARE:
            bench.compare(contender)
    measured = []
    for number in range(rounds):
        order = CONTENDERS if number % 2 == 0 else tuple(reversed(CONTENDERS))
        say(f"round {number + 1} of {rounds}")
        measured.append([bench.run(contender, workload) for contender in order])
    return measured


def of(results: list[Result], contender: str) -> Result:
    return next(result for result in results if result.contender == contender)


def throughput_table(rounds: list[list[Result]]) -> str:
    """Return medians, and ratios taken within each round as median (least to most)."""
    lines = [
        "| | rows/s, job only | rows/s, whole process | bij ahead by | CPU-seconds | peak MiB |",
        "|---|---|---|---|---|---|",
    ]
    for contender in CONTENDERS:
        runs = [of(results, contender) for results in rounds]
        rate = statistics.median(run.rows / run.job_seconds for run in runs)
        whole = statistics.median(run.rows / run.wall_seconds for run in runs)
        ratios = [
            seconds_to_compare(of(results, contender)) / of(results, BIJ_RUN).wall_seconds
            for results in rounds
        ]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        cpu = statistics.median(run.cpu_seconds for run in runs)
        peak = statistics.median(run.peak_bytes for run in runs) / 2**20
        lines.append(
            f"| {contender} | {rate:,.0f} | {'' if contender == BARE else f'{whole:,.0f}'} | "
            f"{'' if contender == BIJ_RUN else spread} | {cpu:.1f} | {peak:,.0f} |"
        )
    return "\n".join(lines)


def seconds_to_compare(result: Result) -> float:
    """The bare loop's start-up and loading are not part of the ceiling; everybody else's are."""
    return result.job_seconds if result.contender == BARE else result.wall_seconds


def steadiness(rounds: list[list[Result]]) -> str:
    loops = [of(results, BARE).job_seconds for results in rounds]
    varies = (max(loops) - min(loops)) / statistics.median(loops)
    verdict = "the machine was not quiet: trust ratios, not rates" if varies > UNSTEADY else "quiet"
    return f"The bare loop varied by {varies:.0%}: {verdict}."


def cost_of_a_shard(bench: Bench) -> float:
    """Return milliseconds a shard: the same file as many shards of 1,000 rows, and as one."""
    workload = Workload(bench.folder, SHARDS_OF_1000_ROWS * 1000, rows_per_row_group=1000)
    workload.make()
    output = bench.folder / "shards"
    many, one = [], []
    for _ in range(3):
        many.append(bench.run_bij(workload, output, rows_per_shard=1000).wall_seconds)
        one.append(bench.run_bij(workload, output, rows_per_shard=workload.rows).wall_seconds)
    seconds = statistics.median(many) - statistics.median(one)
    return 1000 * seconds / (SHARDS_OF_1000_ROWS - 1)


def say(text: str) -> None:
    print(f".. {text}", file=sys.stderr, flush=True)


def describe_machine() -> str:
    return (
        f"{len(os.sched_getaffinity(0))} CPUs, {platform.machine()}, Python "
        f"{platform.python_version()}, load {os.getloadavg()[0]:.1f} at the start"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", choices=PROFILES, default="quick")
    parser.add_argument("--folder", type=Path, default=BUILD / "bench")
    parser.add_argument("--rounds", type=int)
    arguments = parser.parse_args()
    profile = PROFILES[arguments.profile]
    rounds = arguments.rounds or profile.rounds
    machine = describe_machine()
    bench = Bench(arguments.folder)
    workload = Workload(arguments.folder, profile.rows)
    say(f"make {profile.rows:,} rows")
    workload.make()

    stages = measure_stages(workload)
    results = rounds_of(bench, workload, rounds)
    first_rows = [
        run.first_row_seconds for run in (of(r, BIJ_RUN) for r in results) if run.first_row_seconds
    ]
    print(f"\n## {profile.rows:,} rows x 32 float32, MLP 32-128-64-1\n\n{machine}\n")
    print(throughput_table(results), f"\n\n{steadiness(results)}")
    print(f"\n{stages.sentence()}")
    figures: dict[str, Any] = {
        "profile": arguments.profile,
        "machine": machine,
        "stages": asdict(stages),
        "rounds": [[asdict(result) for result in results_] for results_ in results],
    }
    if first_rows:
        figures["firstRowSeconds"] = statistics.median(first_rows)
        print(f"\nFirst row scored {figures['firstRowSeconds']:.2f} s after the process began.")
    if profile.smaller_rows:
        smaller = Workload(arguments.folder, profile.smaller_rows)
        smaller.make()
        say("memory on fewer rows")
        few = [bench.run_bij(smaller, bench.folder / "few").peak_bytes for _ in range(rounds)]
        many = [of(r, BIJ_RUN).peak_bytes for r in results]
        growth = statistics.median(many) / statistics.median(few)
        figures["memoryGrowth"] = growth
        print(
            f"\nPeak memory of bij at {profile.rows:,} rows is {growth:.2f} of that at "
            f"{profile.smaller_rows:,} rows."
        )
    say("shards of 1,000 rows")
    figures["millisecondsPerShard"] = cost_of_a_shard(bench)
    print(f"\nA shard of 1,000 rows costs {figures['millisecondsPerShard']:.2f} ms.")
    BUILD.mkdir(exist_ok=True)
    path = BUILD / f"bench-{arguments.profile}.json"
    path.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    print(f"\nAll figures: {path}")


if __name__ == "__main__":
    main()
