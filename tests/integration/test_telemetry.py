"""What a run tells to nobody."""

from __future__ import annotations

from testkit.checked_runs import succeed
from testkit.small_jobs import linear_job

SILENCERS = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME")
"""With any of the first three ONNX Runtime keeps silent by itself."""


def test_onnx_runtime_keeps_no_id_of_the_machine_and_sends_nothing(tmp_path, monkeypatch):
    """It makes both when its telemetry begins, and never one of them alone."""
    home = tmp_path / "home"
    home.mkdir()
    for name in SILENCERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    succeed(linear_job(tmp_path))
    assert [*home.rglob("*")] == []
