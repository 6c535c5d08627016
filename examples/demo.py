"""What `make demo` shows: millions of rows scored, a kill half-way, a resume, and proof.

The job is examples/02-trees-parquet, unchanged, with more rows; everything lands in build/demo.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb

REPOSITORY = Path(__file__).parent.parent
EXAMPLE = REPOSITORY / "examples" / "02-trees-parquet"
BIJ = Path(sys.executable).parent / "bij"
SHOW_CURSOR = "\x1b[?25h"


class Demo:
    """The acts of the demonstration, in the order in which `main` plays them."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.folder = folder
        self.rows = rows
        self.output = folder / "output"
        self.terminal = sys.stdout.isatty()

    def say(self, text: str) -> None:
        print(f"\n\x1b[1m{text}\x1b[0m" if self.terminal else f"\n{text}", flush=True)

    def show(self, *command: str | Path) -> list[str]:
        """Print a command as a visitor would type it, and return it as it is run."""
        typed = " ".join(Path(part).name if part == BIJ else str(part) for part in command)
        print(f"$ {typed}", flush=True)
        return [str(part) for part in command]

    def prepare(self) -> None:
        self.say(
            "1. Train gradient boosted trees on scikit-learn's wine dataset; resample "
            f"{self.rows:,} wines to classify"
        )
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        shutil.copy(EXAMPLE / "job.yaml", self.folder)
        prepare = EXAMPLE / "prepare.py"
        subprocess.run(
            [sys.executable, prepare, "--rows", str(self.rows), "--into", self.folder], check=True
        )
        for line in (EXAMPLE / "job.yaml").read_text(encoding="utf-8").splitlines():
            print(f"   {line}")

    def committed_shards(self) -> int:
        return sum(1 for _ in self.output.glob("_bij/*/commit/*/*.json"))

    def run_and_kill(self, at_shards: int) -> None:
        self.say("2. Run the job, and kill -9 every process of it half-way")
        command = self.show(BIJ, "run", "job.yaml")
        process = subprocess.Popen(command, cwd=self.folder)
        while process.poll() is None and self.committed_shards() < at_shards:
            time.sleep(0.02)
        if process.poll() is not None:
            if process.returncode:
                sys.exit(process.returncode)
            print("The run was over before it could be killed: this machine is too fast.")
            return
        for pid in [*children_of(process.pid), process.pid]:
            kill(pid)
        process.wait()
        print(f"{SHOW_CURSOR if self.terminal else ''}\n-- killed --", flush=True)
        print(f"{self.committed_shards()} shards were committed; there is no _SUCCESS file.")

    def resume(self) -> None:
        self.say("3. The same command again: it takes up where the committed shards end")
        subprocess.run(self.show(BIJ, "run", "job.yaml"), cwd=self.folder, check=True)

    def verify(self) -> None:
        self.say("4. Check sizes, hashes and row counts of every file against the manifest")
        subprocess.run(self.show(BIJ, "verify", "output"), cwd=self.folder, check=True)

    def count(self) -> None:
        self.say("5. Do not take bij's word for it: count the rows with DuckDB")
        query = (
            "SELECT count(*) AS rows, count(DISTINCT wine_id) AS wines, "
            "min(wine_id) AS first, max(wine_id) AS last FROM 'output/*/part-*.parquet'"
        )
        print(f"> {query}")
        result = self.query(query)
        print(result)
        if result.fetchall() != [(self.rows, self.rows, 0, self.rows - 1)]:
            sys.exit("The output is not exact: a row is missing or there twice.")
        print(f"Every one of {self.rows:,} wines is there exactly once.")

    def peek(self) -> None:
        self.say("6. Ten rows of the result")
        rows = "SELECT * FROM 'output/*/part-*.parquet' ORDER BY hash(wine_id) LIMIT 10"
        print(f"> {rows}\n{self.query(rows)}")
        verdicts = "SELECT verdict, count(*) AS wines FROM 'output/*/part-*.parquet' GROUP BY ALL"
        print(f"> {verdicts}\n{self.query(verdicts)}")

    def query(self, text: str) -> duckdb.DuckDBPyRelation:
        """Run a query once; the relation that is returned may be printed and fetched."""
        pattern = f"{self.output}/*/part-*.parquet"
        text = text.replace("output/*/part-*.parquet", pattern)
        duckdb.execute("SET enable_progress_bar = false")
        duckdb.execute(f"CREATE OR REPLACE TEMPORARY TABLE answer AS {text}")
        return duckdb.table("answer")


def children_of(pid: int) -> list[int]:
    """Return all descendants of a process, as /proc tells them."""
    try:
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        direct = [int(child) for task in tasks for child in task.read_text().split()]
    except OSError:
        return []
    return [found for child in direct for found in (child, *children_of(child))]


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "build" / "demo")
    arguments = parser.parse_args()

    demo = Demo(arguments.folder, arguments.rows)
    started = time.monotonic()
    demo.prepare()
    demo.run_and_kill(at_shards=arguments.rows // 50_000 // 2)
    demo.resume()
    demo.verify()
    demo.count()
    demo.peek()
    demo.say(f"Done in {time.monotonic() - started:.0f} s. All of it lies in {arguments.folder}")


if __name__ == "__main__":
    main()
