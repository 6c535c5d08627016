"""Rules for all tests: where tools lie, and what a unit test may not do."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import settings

TESTS = Path(__file__).parent
IN_CI = os.environ.get("CI") == "true"

settings.register_profile("project", deadline=None, print_blob=True)
settings.load_profile("project")


def s3_server_binary() -> Path:
    """Return where `make tools` puts the S3 server."""
    return Path(os.environ.get("BIJ_TOOLS_DIR", "")) / "versitygw"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot run; with CI=true that is a failure."""
    if item.get_closest_marker("s3") and not s3_server_binary().is_file():
        message = "the S3 server is missing: run `make tools`, or set BIJ_TOOLS_DIR to its folder"
        (pytest.fail if IN_CI else pytest.skip)(message)


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
