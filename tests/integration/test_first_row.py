"""What a run imports before its first row: by name, because time depends on the machine."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from testkit.small_jobs import linear_job

if TYPE_CHECKING:
    from pathlib import Path

FOREIGN = ("numpy", "pyarrow", "onnxruntime", "duckdb", "obstore", "ray", "rich")
SLOW = ("importlib.metadata", "importlib.resources", "ssl", "http.client", "asyncio", "email")
UNUSED = ("ast", "dataclasses", "dis", "inspect", "ipaddress", "pickle", "platform", "pydantic")
LATER = (
    *("_hashlib", "concurrent.futures", "dis", "locale", "platform", "tokenize", "zoneinfo"),
    "batch_inference_runner.cli.failures",
    "batch_inference_runner.cli.summary",
    "batch_inference_runner.commit.output",
    "batch_inference_runner.plan.document",
    "batch_inference_runner.progress.server",
    "batch_inference_runner.schedule.dispatch",
    "batch_inference_runner.schedule.ray_nodes",
)
WATCHED_RUN = """
import sys
from batch_inference_runner.__main__ import main
from batch_inference_runner.schedule import scorer_process
from batch_inference_runner.schedule.scorer_process import ScorerProcess

fork, send, modules = ScorerProcess.fork, ScorerProcess.send, {}
be_scorer = scorer_process._be_scorer

def watched_fork():
    modules["fork"] = sorted(sys.modules)
    return fork()

def be_watched_scorer(*arguments):
    exec(sys.argv[3], {})
    be_scorer(*arguments)

def watched_send(scorer, message):
    modules.setdefault(type(message).__name__, sorted(sys.modules))
    send(scorer, message)

ScorerProcess.fork, ScorerProcess.send = watched_fork, watched_send
scorer_process._be_scorer = be_watched_scorer
exit_code = main(["run", sys.argv[1]])
import json; json.dump(modules, open(sys.argv[2], "w"))
sys.exit(exit_code)
"""
WATCHED_SCORER = """
import json, sys
from batch_inference_runner.score import process

import_libraries, send, known = process.import_libraries, process.send, set()

def watched_imports():
    import_libraries()
    known.update(sys.modules)

def watched_send(connection, message):
    if type(message).__name__ == "FirstRow":
        with open({told!r}, "w") as file:
            json.dump([sorted(known), sorted(set(sys.modules) - known)], file)
    send(connection, message)

process.import_libraries, process.send = watched_imports, watched_send
"""


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    """Where a run has told what it had imported when."""
    folder: Path = tmp_path_factory.mktemp("run")
    scorer = WATCHED_SCORER.format(told=str(folder / "scorer.json"))
    command = [sys.executable, "-c", WATCHED_RUN, linear_job(folder).write()]
    subprocess.run([*command, folder / "driver.json", scorer], check=True, timeout=60)
    return folder


@pytest.fixture(scope="module")
def modules(run_folder) -> dict[str, list[str]]:
    """What the driver of a run has imported when it forks its scorer, and at each message."""
    found: dict[str, list[str]] = json.loads((run_folder / "driver.json").read_text())
    return found


@pytest.fixture(scope="module")
def scorer_modules(run_folder) -> tuple[list[str], list[str]]:
    """What a scorer imports before it is asked for anything, and what before its first row."""
    at_first, later = json.loads((run_folder / "scorer.json").read_text())
    return at_first, later


def test_a_scorer_is_forked_before_anything_slow_is_imported(modules):
    unwanted = {"argparse", "inspect", "json", "logging", "pathlib", "pydantic", "yaml"}
    assert unwanted.isdisjoint(modules["fork"])


@pytest.mark.parametrize("unwanted", [*FOREIGN, *SLOW, *LATER])
def test_the_scorer_begins_to_prepare_before_the_driver_imports(modules, unwanted):
    assert unwanted not in modules["Prepare"]


@pytest.mark.parametrize("unwanted", [*FOREIGN, *SLOW])
def test_the_first_shard_is_assigned_before_the_driver_imports(modules, unwanted):
    assert unwanted not in modules["Score"]


@pytest.mark.parametrize("unwanted", UNUSED)
def test_a_scorer_does_not_import(scorer_modules, unwanted):
    assert unwanted not in scorer_modules[0]


def test_a_scorer_imports_all_that_it_needs_before_it_is_asked_for_anything(scorer_modules):
    assert scorer_modules[1] == []
