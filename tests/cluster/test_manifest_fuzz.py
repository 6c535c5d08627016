"""Manifests at random: the API server and `parse_job` agree, and the operator can read them all.

Nothing is stored: the server is asked what it would do.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from batch_inference_api.crd import custom_resource_definition
from batch_inference_api.problems import InvalidManifest, parse_job
from batch_inference_api.v1alpha1.resource import ResourceModel
from batch_inference_operator.cluster.kubernetes_client import KubernetesCluster, connect
from batch_inference_operator.cluster.resources import RESOURCES
from batch_inference_operator.decide.next_step import plan_next
from batch_inference_operator.decide.record import read_record
from batch_inference_operator.observation import Observation
from testkit.api_proxy import HIDDEN
from testkit.checkout import ROOT
from testkit.cluster.namespaces import Namespace
from testkit.cluster.provider import Cluster
from testkit.generated_jobs import make_any
from testkit.manifests import make_manifest
from testkit.mutated_documents import mutated
from testkit.observations import NOW, SETTINGS, make_ended_pod, make_run, make_success
from testkit.soak import scaled
from testkit.status_rules import check_status

CRD = ROOT / "crds" / "batchinference.dev_batchinferencejobs.yaml"
AT_ONCE = 25
BATCHES = scaled(10, soak=4_000)
STATUS_BATCHES = scaled(4, soak=1_000)
JOBS = RESOURCES["BatchInferenceJob"]
OBSERVATIONS = (
    Observation(),
    Observation(jobs=(make_run(),)),
    Observation(jobs=(make_run(2),), pods=(make_ended_pod(0, make_success()),)),
)


def schema_of(part: str) -> dict[str, Any]:
    (version,) = custom_resource_definition()["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]["properties"][part]


SPEC, STATUS = schema_of("spec"), schema_of("status")


@pytest.fixture(scope="module", autouse=True)
def _crd(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD))
    name = "crd/batchinferencejobs.batchinference.dev"
    cluster.kubectl.wait_until_established(name)


@pytest.fixture(autouse=True)
def _kubeconfig(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))


@dataclass(frozen=True)
class Verdict:
    """What the server says to a document."""

    sent: dict[str, Any]
    code: int
    answer: dict[str, Any]

    @property
    def is_accepted(self) -> bool:
        return self.code in (200, 201)

    def __str__(self) -> str:
        return f"{self.code} {self.answer.get('message')}\nto {json.dumps(self.sent)}"


def ask(namespace: str, manifests: list[dict[str, Any]]) -> list[Verdict]:
    """Ask whether manifests could be created."""

    async def create(server: KubernetesCluster, manifest: dict[str, Any]) -> Verdict:
        return await send(server, "create", JOBS.path(namespace), manifest, "application/json")

    return all_at_once(create, manifests)


def ask_status(namespace: str, name: str, statuses: list[dict[str, Any]]) -> list[Verdict]:
    """Ask whether statuses could be written."""
    path = JOBS.path(namespace, name, part="status")

    async def write(server: KubernetesCluster, status: dict[str, Any]) -> Verdict:
        patch = [{"op": "add", "path": "/status", "value": status}]
        return await send(server, "patch", path, patch, "application/json-patch+json")

    return all_at_once(write, statuses)


async def send(
    server: KubernetesCluster, verb: str, path: str, body: Any, content_type: str
) -> Verdict:
    query = {"dryRun": "All", "fieldValidation": "Strict"}
    code, _, answer = await server._send(verb, path, query, body, content_type)
    return Verdict(body, code, json.loads(answer))


def all_at_once(call: Any, documents: list[dict[str, Any]]) -> list[Verdict]:
    async def run() -> list[Verdict]:
        async with connect() as server:
            return await asyncio.gather(*(call(server, document) for document in documents))

    return asyncio.run(run())


@contextmanager
def only_what_cel_can_say() -> Iterator[None]:
    """Leave out the checks that the server is not given, because they would cost it too much."""
    with pytest.MonkeyPatch.context() as patch:
        for model in models_below(ResourceModel):
            patch.setattr(model, "find_problems", ResourceModel.find_problems)
        yield


def models_below(model: type[ResourceModel]) -> Iterator[type[ResourceModel]]:
    for found in model.__subclasses__():
        yield found
        yield from models_below(found)


def problems_of(manifest: dict[str, Any]) -> tuple[str, ...]:
    try:
        parse_job(manifest)
    except InvalidManifest as error:
        return tuple(f"{problem.field}: {problem.message}" for problem in error.problems)
    return ()


def holds_null(node: Any) -> bool:
    if isinstance(node, dict | list):
        return any(map(holds_null, node.values() if isinstance(node, dict) else node))
    return node is None


def check_answer(verdict: Verdict) -> None:
    """0 5xx, and each refusal says which field it is about."""
    assert verdict.code in (200, 201, 400, 422), verdict
    if verdict.code == 422:
        causes = verdict.answer["details"]["causes"]
        fields = {cause.get("field", "") for cause in causes}
        assert fields - {"", "<nil>"}, verdict  # the latter: rules that were not looked at then
    if verdict.code == 400:
        assert 'field "' in verdict.answer["message"], verdict


def has_plain_path(manifest: dict[str, Any]) -> bool:
    """Whether a URI is a path of this machine, which means nothing to pods."""
    spec = manifest["spec"]
    uris = (
        spec["model"]["storageUri"],
        *spec["input"]["storageUris"],
        spec["output"]["storageUri"],
    )
    return any("://" not in uri for uri in uris)


def check_agreement(verdict: Verdict) -> None:
    """What one takes the other takes: but plain paths, and nulls, which YAML has for no value."""
    is_taken = problems_of(verdict.sent) == ()
    if is_taken and not holds_null(verdict.sent) and not has_plain_path(verdict.sent):
        assert verdict.is_accepted, f"parse_job takes what the server refuses: {verdict}"
    if verdict.is_accepted:
        with only_what_cel_can_say():
            lax = problems_of(stored(verdict))
        assert lax == (), f"the server takes what parse_job refuses: {lax}\n{verdict}"


def stored(verdict: Verdict) -> dict[str, Any]:
    """The object as a watch would bring it to its operator."""
    item = copy.deepcopy(verdict.answer)
    item["metadata"].setdefault("resourceVersion", "1")
    if item["spec"].get("managedBy") == HIDDEN:
        del item["spec"]["managedBy"]
    return item


def check_operator(item: dict[str, Any]) -> None:
    """Whatever was stored, there is a record and a plan, and a status that could be written."""
    record = read_record(item)
    for observation in OBSERVATIONS:
        plan = plan_next(record, observation, now=NOW, settings=SETTINGS)
        if plan.status is not None:
            check_status(plan.status)


fuzz = settings(
    phases=[Phase.generate],  # a seed cannot be made smaller, and each try costs calls
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    report_multiple_bugs=False,
)


@pytest.mark.soak
@settings(fuzz, max_examples=BATCHES)
@given(random=st.randoms(use_true_random=True))
def test_server_and_operator_agree_about_every_manifest(
    namespace: Namespace, random: Random
) -> None:
    manifests = [draw_manifest(random, namespace.name) for _ in range(AT_ONCE)]
    for verdict in ask(namespace.name, manifests):
        check_answer(verdict)
        check_agreement(verdict)
        if verdict.is_accepted:
            check_operator(stored(verdict))


def draw_manifest(random: Random, namespace: str) -> dict[str, Any]:
    """A valid manifest, or one with mistakes."""
    manifest = make_any(random)
    manifest["metadata"] = {"name": manifest["metadata"]["name"], "namespace": namespace}
    if random.random() < 0.85:
        manifest["spec"] = mutated(random, manifest["spec"], SPEC)
    return manifest


@pytest.mark.soak
@settings(fuzz, max_examples=STATUS_BATCHES)
@given(random=st.randoms(use_true_random=True))
def test_no_status_that_anybody_can_write_stops_the_operator(
    namespace: Namespace, random: Random
) -> None:
    namespace.kubectl.apply(make_stored_job(namespace.name))
    statuses = [mutated(random, mutated(random, {}, STATUS), STATUS) for _ in range(AT_ONCE)]
    statuses = [status for status in statuses if isinstance(status, dict)]
    for verdict in ask_status(namespace.name, "churn", statuses):
        check_answer(verdict)
        if verdict.is_accepted:
            check_operator(stored(verdict))


def make_stored_job(namespace: str) -> dict[str, Any]:
    """A job that no operator of the cluster takes for its own."""
    return make_manifest(
        {
            "metadata.namespace": namespace,
            "spec.model.storageUri": "s3://bucket/model.onnx",
            "spec.input.storageUris": ["s3://bucket/data/"],
            "spec.output.storageUri": "s3://bucket/out/",
            "spec.managedBy": HIDDEN,
        }
    )
