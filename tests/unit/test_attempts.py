"""Retry budgets survive a lost driver."""

from __future__ import annotations

import json

import pytest

from batch_inference_runner.schedule.attempts import AttemptLog, EarlierAttempts
from batch_inference_runner.storage.folder import Folder

WORK = "ab" * 32


def test_what_was_probably_in_work_is_suspected(tmp_path):
    log = AttemptLog(Folder(tmp_path), WORK)
    log.record("a1", range(100), alone=False, in_work=2, committed=0)
    assert log.earlier(committed={0, 2, 3}) == EarlierAttempts((1, 4), {}, drivers=1)


def test_a_loss_while_alone_is_charged_for_each_driver(tmp_path):
    for driver in ("d1", "d2"):
        log = AttemptLog(Folder(tmp_path), WORK, driver)
        log.record(f"{driver}-1", [7, 8], alone=False, in_work=2, committed=0)
        log.record(f"{driver}-2", [7], alone=True, in_work=2, committed=0)
    assert log.earlier(committed=set()) == EarlierAttempts((7, 8), {7: 2}, drivers=2)


def test_tries_that_a_store_has_ended_are_charged_as_one(tmp_path):
    log = AttemptLog(Folder(tmp_path), WORK)
    for attempt in ("a1", "a2", "a3"):
        log.record(attempt, [7], alone=True, in_work=2, committed=0)
    assert log.earlier(committed=set()) == EarlierAttempts((7,), {7: 1}, drivers=1)


def test_a_record_that_is_a_link_to_nothing_hides_no_other(tmp_path):
    log = AttemptLog(Folder(tmp_path), WORK)
    log.record("a1", [1], alone=True, in_work=1, committed=0)
    (record,) = tmp_path.rglob("a1.json")
    (record.parent / "a2.json").symlink_to("absent")
    assert log.earlier(committed=set()) == EarlierAttempts((1,), {1: 1}, drivers=1)


def test_what_is_committed_is_innocent(tmp_path):
    log = AttemptLog(Folder(tmp_path), WORK)
    log.record("a1", [1], alone=True, in_work=1, committed=0)
    assert log.earlier(committed={1}) == EarlierAttempts((), {}, drivers=1)


def test_a_fresh_output_has_no_past(tmp_path):
    assert AttemptLog(Folder(tmp_path), WORK).earlier(set()) == EarlierAttempts((), {}, drivers=0)


def test_a_record_whose_response_was_lost_is_written_once(tmp_path):
    log = AttemptLog(Folder(tmp_path), WORK)
    for _ in range(2):  # a client that retries meets its own first try
        log.record("a1", [1], alone=True, in_work=1, committed=0)
    assert log.earlier(committed=set()) == EarlierAttempts((1,), {1: 1}, drivers=1)


def test_losses_before_the_last_commit_are_forgiven(tmp_path):
    log = AttemptLog(Folder(tmp_path), WORK)
    log.record("a1", [7], alone=True, in_work=1, committed=0)
    log.record("a2", [7], alone=True, in_work=1, committed=1)
    assert log.earlier(committed={3}) == EarlierAttempts((7,), {7: 1}, drivers=1)


def test_drivers_that_began_to_score_are_counted(tmp_path):
    for driver in ("d1", "d2"):
        log = AttemptLog(Folder(tmp_path), WORK, driver)
        for number in range(3):
            log.record(f"{driver}-{number}", [number], alone=False, in_work=1, committed=0)
    assert AttemptLog(Folder(tmp_path), WORK).earlier(committed=set()).drivers == 2


def test_what_a_driver_had_in_work_that_ended_by_itself_is_innocent(tmp_path):
    store = Folder(tmp_path)
    for driver in ("lost", "stopped"):
        log = AttemptLog(store, WORK, driver)
        log.record(f"{driver}-1", [7], alone=True, in_work=2, committed=0)
        log.record(f"{driver}-2", [8, 9], alone=False, in_work=2, committed=0)
    for _ in range(2):  # a client that retries meets its own first try
        log.stop()

    assert log.earlier(committed=set()) == EarlierAttempts((7, 8, 9), {7: 1}, drivers=2)
    (tmp_path / "_bij" / WORK / "attempts" / "lost-1.json").unlink()
    (tmp_path / "_bij" / WORK / "attempts" / "lost-2.json").unlink()
    assert log.earlier(committed=set()) == EarlierAttempts((), {}, drivers=1)


def test_a_driver_that_stopped_before_it_scored_has_not_begun(tmp_path):
    log = AttemptLog(Folder(tmp_path), WORK)
    log.stop()
    assert log.earlier(committed=set()) == EarlierAttempts((), {}, drivers=0)


def test_a_store_that_takes_no_record_does_not_keep_a_driver_from_stopping(tmp_path):
    (tmp_path / "_bij").write_text("a file where the folder should be")
    AttemptLog(Folder(tmp_path), WORK).stop()


def test_releases_that_know_nothing_of_stopping_can_read_the_record(tmp_path):
    log = AttemptLog(Folder(tmp_path), WORK, "d1")
    log.stop()
    (record,) = tmp_path.rglob("*.json")
    read_by_all = {"driver": "d1", "shards": [], "alone": False, "inWork": 0, "committed": 0}
    assert json.loads(record.read_text()) == {**read_by_all, "stopped": True}


RECORD = {"driver": "d", "shards": [5], "alone": True, "inWork": 1, "committed": 0}


@pytest.mark.parametrize(
    ("name", "body"),
    [
        pytest.param(".DS_Store", b"\0\0\0\1Bud1\xff", id="a file of another program"),
        pytest.param("copy.txt", json.dumps(RECORD).encode(), id="another name"),
        pytest.param("x.json", b"\xff", id="no text"),
        pytest.param("x.json", b"", id="nothing"),
        pytest.param("x.json", b"[" * 100_000, id="text without an end"),
        pytest.param("x.json", b"[1]", id="no object"),
        pytest.param("x.json", b"{}", id="an empty object"),
        *(
            pytest.param("x.json", json.dumps({**RECORD, name: {}}).encode(), id=f"a wrong {name}")
            for name in RECORD
        ),
    ],
)
def test_what_is_no_record_is_passed_over(tmp_path, caplog, name, body):
    log = AttemptLog(Folder(tmp_path), WORK)
    log.record("a1", [1], alone=True, in_work=1, committed=0)
    (tmp_path / "_bij" / WORK / "attempts" / name).write_bytes(body)

    assert log.earlier(committed=set()) == EarlierAttempts((1,), {1: 1}, drivers=1)
    warned = [record.file for record in caplog.records]
    assert warned == ([name] if name.endswith(".json") else [])


def test_a_record_that_is_gone_when_it_is_read_is_passed_over(tmp_path, monkeypatch):
    store = Folder(tmp_path)
    log = AttemptLog(store, WORK)
    log.record("a1", [1], alone=True, in_work=1, committed=0)
    listed = [*store.list()]
    store.delete([info.key for info in listed])
    monkeypatch.setattr(Folder, "list", lambda *_: iter(listed))
    assert log.earlier(committed=set()) == EarlierAttempts((), {}, drivers=0)
