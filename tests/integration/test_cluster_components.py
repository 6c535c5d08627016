"""A component of the test cluster is ended by its process id, if that is still its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.cluster.component import Command, Component


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Component]:
    component = Component("sleeper", tmp_path)
    component.start(Command(("sleep", "600"), dict(os.environ)))
    yield component
    component.kill()


def test_it_is_found_by_its_record_and_ended(sleeper: Component, tmp_path: Path) -> None:
    found = Component("sleeper", tmp_path)
    assert found.is_running()
    found.stop()
    assert not sleeper.is_running()


def test_it_is_started_again_as_it_was(sleeper: Component) -> None:
    with sleeper.stopped():
        assert not sleeper.is_running()
    assert sleeper.is_running()


def test_a_process_that_got_its_id_later_is_not_ours(tmp_path: Path, sleeper: Component) -> None:
    somebody_else = subprocess.Popen(["sleep", "600"])
    record = tmp_path / "sleeper.json"
    recorded = json.loads(record.read_text())
    record.write_text(json.dumps({**recorded, "pid": somebody_else.pid, "started": "0"}))
    sleeper.kill()
    assert somebody_else.poll() is None
    somebody_else.kill()
    somebody_else.wait()
    record.write_text(json.dumps(recorded))
