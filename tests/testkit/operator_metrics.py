"""What the operator counts about itself, read as Prometheus reads it."""

from __future__ import annotations

import urllib.request
from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

from testkit.operator_installation import Operator

_PORT = 8081
_WRITES = ("create", "patch", "update", "delete")


def writes_of(operator: Operator) -> Counter[tuple[str, str]]:
    """Writes so far by verb and resource, those that renew the Lease left out."""
    found: Counter[tuple[str, str]] = Counter()
    for labels, value in _samples(operator, "batch_inference_api_calls_total"):
        if labels["verb"] in _WRITES and labels["resource"] != "leases":
            found[labels["verb"], labels["resource"]] += int(value)
    return found


def reconciles_of(operator: Operator) -> int:
    """How often any job was looked at."""
    return int(sum(n for _, n in _samples(operator, "batch_inference_reconcile_seconds_count")))


def _samples(operator: Operator, name: str) -> list[tuple[dict[str, str], float]]:
    (pod,) = operator.pods()
    url = f"http://{pod['status']['podIP']}:{_PORT}/metrics"
    with urllib.request.urlopen(url, timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return [
        (sample.labels, sample.value)
        for family in families
        for sample in family.samples
        if sample.name == name
    ]
