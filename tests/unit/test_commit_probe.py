"""What the probe of a store puts up with, and what not."""

from __future__ import annotations

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_runner.commit.probe import probe
from batch_inference_runner.errors import JobFailed
from batch_inference_runner.storage.store import AccessDenied, StoreError
from testkit.commits import do_not_pause
from testkit.faulty_store import MemoryStore


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    do_not_pause(monkeypatch)


class Stumbling(MemoryStore):
    """Answers some of its publishes, counted from 1, with an error; `after` they had their effect.

    S3 does so with "200 OK" and an error in the body when a copy is completed.
    """

    def __init__(self, stumbles, *, after=False, error=StoreError, **weakness):
        super().__init__(**weakness)
        self.published = 0
        self._stumbles = stumbles
        self._after = after
        self._error = error

    def publish(self, source, target):
        self.published += 1
        stumbles = self.published in self._stumbles
        if self._after or not stumbles:
            super().publish(source, target)
        if stumbles:
            raise self._error("InternalError")


@pytest.mark.parametrize("stumbles", [{1}, {2}, {1, 2, 4}])
@pytest.mark.parametrize("after", [True, False], ids=["after", "before"])
def test_a_publish_that_fails_once_is_tried_again(stumbles, after):
    store = Stumbling(stumbles, after=after)
    probe(store, replaces=False)
    assert store.published > 1
    assert store.objects == {}


@pytest.mark.parametrize("stumbles", [{1}, {2}])
def test_a_store_that_replaces_is_refused_although_it_fails_at_times(stumbles):
    with pytest.raises(JobFailed) as refused:
        probe(Stumbling(stumbles, exclusive=False, scope="posix"), replaces=False)
    assert refused.value.reason is Reason.OUTPUT_STORE_UNSAFE


def test_a_publish_that_always_fails_is_the_store_s_failure():
    with pytest.raises(StoreError, match="InternalError"):
        probe(Stumbling(range(100)), replaces=False)


def test_a_publish_that_is_denied_is_not_tried_again():
    store = Stumbling(range(100), error=AccessDenied)
    with pytest.raises(AccessDenied):
        probe(store, replaces=False)
    assert store.published == 1
