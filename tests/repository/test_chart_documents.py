"""The chart's README and the pages for platform teams say what is so."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

import yaml
from prometheus_client import generate_latest

from batch_inference_api.runner_contract import JobIdentity, ProgressReport, RowCounts
from batch_inference_operator.cache import ObjectCache
from batch_inference_operator.metrics import Metrics
from batch_inference_runner.progress.metrics import render
from testkit.checkout import ROOT
from testkit.prometheus import alert_queries

CHART = ROOT / "charts" / "batch-inference-operator"
PLATFORM = ROOT / "docs" / "platform"
GENERATOR = ROOT / "tests" / "tools" / "write_values_table.py"


def test_the_table_of_values_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, GENERATOR, "--check"], check=False)
    assert done.returncode == 0


def test_every_value_says_what_it_means() -> None:
    """Each for itself: one without a comment shows that of its parent, and so do its siblings."""
    rows = re.findall(
        r"^\| `([\w.]+)` \|.*\| (.*) \|$", (CHART / "README.md").read_text(), re.MULTILINE
    )
    said = Counter((key.rpartition(".")[0], meaning) for key, meaning in rows)
    assert len(rows) > 50
    assert [about for about, count in said.items() if count > 1 or not about[1].strip()] == []


def test_every_page_is_listed() -> None:
    listed = set(re.findall(r"\]\((\w[\w-]*\.md)\)", (PLATFORM / "README.md").read_text()))
    assert listed == {path.name for path in PLATFORM.glob("*.md")} - {"README.md"}


def test_every_alert_has_a_line_of_advice() -> None:
    advised = re.findall(
        r"^\| (BatchInference\w+) \|", (PLATFORM / "alerts.md").read_text(), re.MULTILINE
    )
    assert advised == list(alert_queries())


def test_every_metric_is_listed_with_its_type_and_meaning() -> None:
    """As Prometheus is told of them: type and text of each series."""
    page = (PLATFORM / "alerts.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*) \|$", page, re.MULTILINE)
    assert listed == [*metrics_in(operator_metrics()), *metrics_in(runner_metrics())]


def operator_metrics() -> str:
    metrics = Metrics(cache=ObjectCache(), queue_depth=lambda: 0, resync_seconds=300)
    return generate_latest(metrics.registry).decode()


def runner_metrics() -> str:
    """Of a run of which everything is known."""
    known = {"rows": RowCounts(total=10), "percentage": 1, "rows_per_second": 1, "gpu_seconds": 1}
    job = JobIdentity(name="churn")
    return render(ProgressReport(job=job, estimated_remaining_seconds=1, **known))


def metrics_in(exposed: str) -> list[tuple[str, str, str]]:
    texts = dict(re.findall(r"^# HELP (\w+) (.*)$", exposed, re.MULTILINE))
    types = re.findall(r"^# TYPE (\w+) (\w+)$", exposed, re.MULTILINE)
    return [(name, kind, texts[name]) for name, kind in types if not name.endswith("_created")]


def test_every_key_that_a_page_names_is_a_value() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    roots = "|".join(key for key in values if isinstance(values[key], dict))
    named = {
        key
        for page in PLATFORM.glob("*.md")
        for key in re.findall(rf"`((?:{roots})\.[\w.]+)`", page.read_text())
    }
    assert len(named) > 8
    assert [key for key in sorted(named) if not has_key(values, key)] == []


def test_every_key_that_a_refusal_names_is_a_value() -> None:
    """Platform teams know the chart's keys, and not the flags that they become."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    refusals = ROOT / "operator" / "src" / "batch_inference_operator" / "build" / "allowed.py"
    named = re.findall(r'value="([\w.]+)"', refusals.read_text())
    assert named == ["allowed.uriSchemes", "allowed.images", "allowed.serviceAccounts"]
    assert [key for key in named if not has_key(values, key)] == []


def has_key(values: object, path: str) -> bool:
    for key in path.split("."):
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True
