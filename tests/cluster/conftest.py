"""What tests on a real cluster share: one cluster for all of them, a namespace for each.

If `make cluster` has started one, it is used and goes on running.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from testkit.audit import denied, requests_of
from testkit.cluster.binaries import BuildFailed
from testkit.cluster.dump import dump_namespace
from testkit.cluster.local import LocalCluster
from testkit.cluster.machine import ClusterUnavailable
from testkit.cluster.namespaces import Namespace, fresh_namespace
from testkit.cluster.node import Node
from testkit.cluster.provider import Cluster, chosen_cluster
from testkit.cluster_jobs import HeldJob, make_held_job
from testkit.foreign_crds import created, foreign_crds
from testkit.gate import Gate, gate_before
from testkit.operator_installation import DEPLOYMENT, NAMESPACE, Operator, install
from testkit.skipping import skip_or_fail
from testkit.soak import IS_SOAK

_HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark everything in this folder, so that no test can forget to say what it needs."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)
    too_long = [item for item in items if not IS_SOAK and item.get_closest_marker("soak_only")]
    config.hook.pytest_deselected(items=too_long)
    items[:] = [item for item in items if item not in too_long]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add to the report of a failed test what there was in its namespace."""
    report = yield
    namespace = getattr(item, "funcargs", {}).get("namespace")
    if report.failed and report.when == "call" and namespace is not None:
        report.sections.append((f"namespace {namespace.name}", dump_namespace(namespace.kubectl)))
    return report


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster, with one node at least."""
    with ExitStack() as stack:
        try:
            found = stack.enter_context(chosen_cluster())
        except (ClusterUnavailable, BuildFailed) as error:
            skip_or_fail(str(error))
        yield found


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """An empty namespace that enforces Pod Security `restricted`."""
    with fresh_namespace(cluster, request.node.name) as created:
        yield created


@pytest.fixture(scope="module")
def foreign_kinds(cluster: Cluster) -> Iterator[None]:
    """For the tests of one module: kinds of Prometheus's operator, Argo CD and Flux."""
    try:
        files = foreign_crds()
    except BuildFailed as error:
        skip_or_fail(str(error))
    with created(cluster.kubectl, files):
        yield


@pytest.fixture(scope="session")
def local_cluster(cluster: Cluster) -> LocalCluster:
    """The cluster, if it is one whose components may be broken."""
    if not isinstance(cluster, LocalCluster):
        skip_or_fail(
            "needs components that can be stopped and killed: BIJ_CLUSTER_PROVIDER=local, on Debian"
        )
    return cluster


@pytest.fixture
def gate(cluster: Cluster) -> Iterator[Gate]:
    """A gate between the cluster and its S3 server, which is shut: see `Gate`."""
    try:
        listener = cluster.listen()
    except ClusterUnavailable as error:
        skip_or_fail(str(error))
    with gate_before(cluster.object_storage.endpoint, listener) as found:
        yield found


@pytest.fixture
def held_job(namespace: Namespace, gate: Gate, tmp_path: Path) -> HeldJob:
    """A job of 60 shards, none of which is committed before its test says so."""
    return make_held_job(namespace, tmp_path, gate)


@pytest.fixture
def second_node(local_cluster: LocalCluster) -> Iterator[Node]:
    """One more node, there for one test, which may break it; it has the images of the first."""
    node = local_cluster.add_node()
    yield node
    local_cluster.remove_node(node)


@pytest.fixture(scope="session")
def operator(cluster: Cluster) -> Iterator[Operator]:
    """The operator as users install it, and the image of its runner; it works in all namespaces.

    Behind the last test: whatever it has asked for in all of them, its roles allow it.
    """
    began = datetime.now(UTC)
    yield install(cluster)
    if isinstance(cluster, LocalCluster):
        log = cluster.control_plane.audit_log
        requests = list(
            requests_of(f"system:serviceaccount:{NAMESPACE}:{DEPLOYMENT}", log, since=began)
        )
        assert requests, "the audit log knows nothing of it"
        assert denied(requests) == set()


@pytest.fixture
def nobody_else(operator: Operator) -> Iterator[None]:
    """For one test, no operator works in all namespaces: the test has one of its own."""
    with operator.down():
        yield
