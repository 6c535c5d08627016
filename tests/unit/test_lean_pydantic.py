"""pydantic as a run imports it: without much of what makes its modules, and the same to us."""

from __future__ import annotations

import dis
import json
import subprocess
import sys
from typing import Any

import pytest

from batch_inference_runner import lean_pydantic
from testkit.manifests import make_manifest

LEAN = "from batch_inference_runner import lean_pydantic; lean_pydantic.load()"
READ = """
from batch_inference_api.problems import InvalidManifest, parse_job
from batch_inference_api.resolve import resolve
try:
    job = parse_job(json.loads(sys.argv[1]))
except InvalidManifest as error:
    print(json.dumps(str(error)))
else:
    config = resolve(job, resolve_uri=lambda _, uri: uri, credentials_dir=lambda *_: None)
    print(json.dumps([job.model_dump(mode="json"), config.model_dump(mode="json")]))
"""


def told(code: str, argument: object = None) -> Any:
    """Return what code in a process of its own prints, as JSON."""
    command = [sys.executable, "-c", f"import json, sys\n{code}", json.dumps(argument)]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def test_the_types_of_schemas_are_dicts_without_fields():
    code = """
import pydantic, typing_extensions
from pydantic_core import core_schema
types = core_schema.IntSchema, typing_extensions.TypedDict("Later", {"field": int})
print(json.dumps([list(getattr(each, "__annotations__", ())) for each in types]))"""
    assert told(f"{LEAN}{code}") == [[], ["field"]]
    assert told(code) != [[], ["field"]]


def test_data_classes_are_without_what_nobody_asks_them():
    code = """
import annotated_types, dataclasses, pydantic
later = dataclasses.make_dataclass("Later", ["field"], frozen=True)
classes = pydantic.AfterValidator, annotated_types.Ge, later
print(json.dumps([[name in vars(each) for each in classes] for name in ("__init__", "__eq__")]))"""
    assert told(f"{LEAN}{code}") == [[True, True, True], [False, False, True]]
    assert told(code) == [[True, True, True], [True, True, True]]


def test_modules_that_were_replaced_are_there_for_those_who_import_them():
    code = """
import pydantic
unwanted = sorted({"_hashlib", "secrets", "platform", "zoneinfo"} & set(sys.modules))
import platform, secrets, zoneinfo
same = pydantic.SecretStr("a") == pydantic.SecretStr("a") != pydantic.SecretStr("b")
whole = platform.node() != "", len(secrets.token_hex()), zoneinfo.ZoneInfo("UTC").key
print(json.dumps([unwanted, same, *whole]))"""
    assert told(f"{LEAN}{code}") == [[], True, True, 64, "UTC"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "spec.model.inputs": [{"name": "x", "columns": ["a", "b"], "fillValue": "0"}],
            "spec.workers.resources": {"limits": {"cpu": "2", "memory": "1Gi"}},
            "spec.batching.batchSize": 7,
            "spec.errorPolicy": {"onError": "Fail"},
        },
        {
            "spec.modle": {},
            "spec.batching.batchSize": 0,
            "spec.suspend": 1,
            "spec.input.format": "X",
        },
        {"spec.execution.executionProviders": [], "metadata.name": "A", "spec.backoffLimit": 1.5},
    ],
    ids=["smallest", "full", "fields that do not exist", "values that are not allowed"],
)
def test_a_manifest_is_read_or_refused_as_by_the_whole_of_pydantic(changes):
    manifest = make_manifest(changes)
    assert told(f"{LEAN}{READ}", manifest) == told(READ, manifest)


def test_the_flags_of_functions_are_called_what_python_calls_them():
    assert dis.COMPILER_FLAG_NAMES.items() >= lean_pydantic.FLAG_NAMES.items()
