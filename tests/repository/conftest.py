"""Helm alone, for what the chart makes of its values without a cluster."""

from __future__ import annotations

import os

import pytest

from testkit.cluster.binaries import BuildFailed, built_helm
from testkit.helm import Helm
from testkit.skipping import skip_or_fail


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    try:
        folder = built_helm()
    except BuildFailed as error:
        skip_or_fail(str(error))
    search_path = os.pathsep.join([str(folder), os.environ.get("PATH", os.defpath)])
    return Helm(search_path, tmp_path_factory.mktemp("helm") / "of-no-cluster")
