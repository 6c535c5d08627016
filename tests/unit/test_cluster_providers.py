"""No test ever runs on a cluster that nobody has named; one that was removed is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from testkit.cluster import local
from testkit.cluster.machine import ClusterUnavailable
from testkit.cluster.provider import chosen_cluster


@pytest.fixture(autouse=True)
def no_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with a kubeconfig where everybody looks for one, and without Docker."""
    kubeconfig = tmp_path / ".kube" / "config"
    kubeconfig.parent.mkdir()
    kubeconfig.write_text("{}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("BIJ_KUBECONFIG", raising=False)


@pytest.mark.parametrize(
    ("provider", "complaint"),
    [
        ("local", r"the local cluster needs .*the program runc.*install_cluster_packages"),
        ("kind", "docker was not found"),
        ("existing", "BIJ_KUBECONFIG must be set"),
        ("production", "'production' is not one of existing, kind, local"),
    ],
)
def test_a_provider_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, provider: str, complaint: str
) -> None:
    monkeypatch.setenv("BIJ_CLUSTER_PROVIDER", provider)
    monkeypatch.setenv("BIJ_CLUSTER_NAME", "unittest")
    with pytest.raises(ClusterUnavailable, match=complaint), chosen_cluster():
        pytest.fail("a cluster was used")


def test_a_kubeconfig_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BIJ_CLUSTER_PROVIDER", "existing")
    monkeypatch.setenv("BIJ_KUBECONFIG", str(tmp_path / "missing"))
    with pytest.raises(ClusterUnavailable, match="is not a file"), chosen_cluster():
        pytest.fail("a cluster was used")


def test_what_an_interrupted_removal_has_left_goes_with_the_next_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else no cluster of that name could be started any more."""
    folder = tmp_path / "cluster"
    (folder / "s3").mkdir(parents=True)
    monkeypatch.setattr(local, "_folder_of", lambda _: folder)
    assert not local.remove("unittest")
    assert not folder.exists()
    assert not local.remove("unittest")
