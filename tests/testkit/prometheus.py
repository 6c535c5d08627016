"""Prometheus and promtool, taken out of Debian's package by `tests/tools/unpack_prometheus`."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import yaml

from testkit.checkout import ROOT
from testkit.skipping import skip_or_fail

ALERTS = ROOT / "charts" / "batch-inference-operator" / "files" / "alerts.yaml"
DASHBOARD = ROOT / "charts" / "batch-inference-operator" / "files" / "dashboard.json"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def find_program(name: str) -> Path:
    """Find `prometheus` or `promtool`; without it the test is skipped, or fails if CI=true."""
    program = _CACHE / "batch-inference-operator" / "tools" / "prometheus" / name
    if not program.exists():
        skip_or_fail(f"{name} is not there: make tools")
    return program


def run_promtool(*arguments: str) -> None:
    """Run it, and fail with what it prints if it does."""
    done = subprocess.run(
        [find_program("promtool"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def dashboard_queries() -> dict[str, str]:
    """The dashboard's queries by their panel, with Grafana's interval filled in."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return {
        f"{panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "1m")
        for panel in panels
        for target in panel["targets"]
    }


def alert_queries() -> dict[str, str]:
    """The expressions of the alerts, by their names."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def metrics_named_in(query: str) -> set[str]:
    return set(re.findall(r"\bbatch_inference_\w+", query))
