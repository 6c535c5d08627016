"""Rules for all tests: where tools lie, and what a unit test may not do."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import settings

TESTS = Path(__file__).parent

settings.register_profile("project", deadline=None, print_blob=True)
settings.load_profile("project")


def default_tools_folder() -> Path:
    """Return where `make tools` builds the S3 server, for runs of pytest without make."""
    makefile = (TESTS.parent / "Makefile").read_text(encoding="utf-8")
    (version,) = re.findall(r"^VERSITYGW_VERSION := (\S+)$", makefile, re.MULTILINE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "batch-inference-operator" / "tools" / f"versitygw-{version}"


os.environ.setdefault("BIJ_TOOLS_DIR", str(default_tools_folder()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse tests that no target of the Makefile would run."""
    lanes = {"ray": ("integration", "faults"), "cluster": ("cluster",)}
    for item in items:
        for mark, folders in lanes.items():
            folder = item.path.relative_to(TESTS).parts[0]
            if item.get_closest_marker(mark) and folder not in folders:
                raise pytest.UsageError(
                    f"{item.nodeid} is marked {mark!r}: that is run in {', '.join(folders)} only"
                )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot run; with CI=true that is a failure."""
    if item.get_closest_marker("s3"):
        from testkit.s3 import find_binary

        find_binary()


def _refused(what: str) -> mock.Mock:
    return mock.Mock(side_effect=AssertionError(f"a unit test may not {what}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Keep unit tests off the network and the clock."""
    if TESTS / "unit" not in item.path.parents:
        return (yield)
    with (
        mock.patch.object(socket, "create_connection", _refused("use the network")),
        mock.patch.object(time, "sleep", _refused("sleep")),
    ):
        return (yield)
