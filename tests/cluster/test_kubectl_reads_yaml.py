"""What the unit tests take for kubectl's reading of YAML is kubectl's: nothing is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from testkit.cluster.api_server import RequestFailed
from testkit.cluster.kubectl import Kubectl
from testkit.cluster.provider import Cluster
from testkit.yaml_readings import KEYS, READINGS, REFUSED, REFUSED_KEYS


def read(kubectl: Kubectl, *items: str) -> list[Any]:
    """Have kubectl read a list, and its JSON as a server does: with whole numbers of 64 bits."""
    header = "apiVersion: tests.example/v1\nkind: Readings\nmetadata: {name: x}\nitem:\n"
    document = header + "".join(f"- {item}\n" for item in items)
    flags = ("--local", "--filename=-", "--output=json")
    answer = kubectl("annotate", *flags, "a=b", stdin=document)
    return json.loads(answer, parse_int=in_64_bits)["item"]


def in_64_bits(digits: str) -> int | float:
    number = int(digits)
    return number if -(2**63) <= number < 2**63 else float(number)


def test_kubectl_reads_each_value_so(cluster: Cluster) -> None:
    values = read(cluster.kubectl, *READINGS)
    assert dict(zip(READINGS, map(repr, values), strict=True)) == {
        text: repr(value) for text, value in READINGS.items()
    }


def test_kubectl_reads_each_key_so(cluster: Cluster) -> None:
    mappings = read(cluster.kubectl, *(f"{key}: 1" for key in KEYS))
    assert dict(zip(KEYS, mappings, strict=True)) == {key: {text: 1} for key, text in KEYS.items()}


@pytest.mark.parametrize("item", [*REFUSED, *(f"{key}: 1" for key in REFUSED_KEYS)])
def test_kubectl_refuses(cluster: Cluster, item: str) -> None:
    with pytest.raises(RequestFailed, match="error converting YAML to JSON"):
        read(cluster.kubectl, item)
