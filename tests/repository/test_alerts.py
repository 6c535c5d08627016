"""Alerts and dashboard: they parse, fire when they should, and name metrics that exist."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from batch_inference_operator.cache import ObjectCache
from batch_inference_operator.metrics import Metrics
from testkit.checkout import ROOT
from testkit.prometheus import (
    ALERTS,
    DASHBOARD,
    alert_queries,
    dashboard_queries,
    metrics_named_in,
    run_promtool,
)

QUERIES = {**alert_queries(), **dashboard_queries()}


def existing_metrics() -> set[str]:
    registry: CollectorRegistry = Metrics(
        cache=ObjectCache(), queue_depth=lambda: 0, resync_seconds=300
    ).registry
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
    return {
        family.name + suffix
        for family in registry.collect()
        for suffix in suffixes.get(family.type, [""])
    }


def test_promtool_accepts_the_alerts() -> None:
    run_promtool("check", "rules", str(ALERTS))


def test_alerts_fire_when_they_should_and_only_then() -> None:
    run_promtool("test", "rules", str(ROOT / "tests" / "alerts" / "what_fires_when.yaml"))


def test_every_alert_is_tested() -> None:
    tested = (ROOT / "tests" / "alerts" / "what_fires_when.yaml").read_text()
    assert [name for name in alert_queries() if f"alertname: {name}\n" not in tested] == []


def test_promtool_accepts_every_query_of_the_dashboard(tmp_path: Path) -> None:
    rules = [{"record": "panel", "expr": query} for query in dashboard_queries().values()]
    (tmp_path / "rules.json").write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
    run_promtool("check", "rules", "--lint=none", str(tmp_path / "rules.json"))


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_query_names_only_metrics_that_the_operator_has(query: str) -> None:
    named = metrics_named_in(query)
    assert named
    assert named <= existing_metrics()


def test_panels_do_not_overlap() -> None:
    places = [panel["gridPos"] for panel in json.loads(DASHBOARD.read_text())["panels"]]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


REPLICAS = """
batch_inference_is_leader{namespace="team-a", pod="leader"} 1
batch_inference_is_leader{namespace="team-a", pod="standby"} 0
batch_inference_is_leader{namespace="team-b", pod="starting"} 0
batch_inference_last_sync_timestamp_seconds{namespace="team-a", pod="leader"} 300
batch_inference_last_sync_timestamp_seconds{namespace="team-a", pod="standby"} 600
batch_inference_last_sync_timestamp_seconds{namespace="team-b", pod="starting"} 60
batch_inference_queue_depth{namespace="team-a", pod="leader"} 2
batch_inference_queue_depth{namespace="team-a", pod="standby"} 50
batch_inference_jobs{phase="Running", namespace="team-a", pod="leader"} 3
batch_inference_jobs{phase="Running", namespace="team-a", pod="standby"} 3
batch_inference_jobs{phase="Running", namespace="team-b", pod="starting"} 4
"""
SHOWN = {
    "At work A": {"labels": "{}", "value": 0},
    "Since everything was last listed A": {"labels": "{}", "value": 540},
    "Jobs that wait to be looked at A": {"labels": "{}", "value": 2},
    "Jobs by phase A": {"labels": '{phase="Running"}', "value": 7},
}
"""After ten minutes, of two operators, one of which has a replica that stands by."""


def test_panels_count_each_operator_once_whatever_stands_by(tmp_path: Path) -> None:
    series = [line.rpartition(" ") for line in REPLICAS.strip().splitlines()]
    case = {
        "interval": "1m",
        "input_series": [{"series": name, "values": f"{value}x10"} for name, _, value in series],
        "promql_expr_test": [
            {"expr": dashboard_queries()[panel], "eval_time": "10m", "exp_samples": [shown]}
            for panel, shown in SHOWN.items()
        ],
    }
    (tmp_path / "panels.json").write_text(json.dumps({"tests": [case]}))
    run_promtool("test", "rules", str(tmp_path / "panels.json"))
