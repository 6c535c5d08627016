"""Claim, resume, modes and finalizing, on a store in memory."""

from __future__ import annotations

import json
import threading

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_runner.commit import verify as verifying
from batch_inference_runner.commit.garbage import collect
from batch_inference_runner.commit.layout import CLAIM, marker_key, part_stem, stage_key, work_of
from batch_inference_runner.commit.output import Output
from batch_inference_runner.commit.verify import verify
from batch_inference_runner.errors import JobFailed, Unavailable
from testkit.commits import ROWS, do_not_pause, drive, expected_rows, make_config, plan_of, stage
from testkit.faulty_store import FaultyStore, MemoryFile, MemoryStore
from testkit.readers import read_by_glob, read_by_manifest, visible_bytes


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    do_not_pause(monkeypatch)


@pytest.fixture
def store():
    return MemoryStore()


def open_output(store, config, plan=None):
    return Output.open(store, config, lambda: plan or plan_of(config))


def begun(store, config):
    """What was written to the store when a plan was begun; empty if none was."""
    seen = []

    def begin():
        seen.append(sorted(info.key for info in store.list()))

    Output.open(store, config, lambda: plan_of(config), begin_plan=begin)
    return seen


def test_a_plan_is_begun_before_the_store_is_tried(store):
    assert begun(store, make_config()) == [[]]


def test_no_plan_is_begun_for_a_run_that_goes_on(store):
    open_output(store, make_config())
    assert begun(store, make_config()) == []


def refused(store, config, reason):
    with pytest.raises(JobFailed) as error:
        drive(store, config, attempt="x")
    assert error.value.reason is reason
    return error.value.message


def test_names_below_an_output():
    work = "1f3a9c2e" + 56 * "0"
    assert part_stem(42, work) == "part-000042-1f3a9c2e"
    assert stage_key(work, 0, "a1", "k=v/p") == f"_bij/{work}/stage/5f/k=v/000000-a1.p"
    assert marker_key(work, 42) == f"_bij/{work}/commit/5f/000042.json"
    assert work_of(work, 1) == work
    assert work_of(work, 2)[:8] != work[:8]
    assert len({marker_key(work, n).split("/")[3] for n in range(100_000)}) > 200


def test_a_job_that_ran_leaves_an_output_that_is_what_its_manifest_says(store):
    manifest = drive(store, make_config(), attempt="a")
    assert read_by_manifest(store) == read_by_glob(store) == expected_rows()
    assert (manifest.counts.read, manifest.counts.written, manifest.counts.rejected) == (9, 6, 3)
    assert verify(store) == ()
    assert not [key for key in store.objects if "/stage/" in key]


def test_a_plan_that_has_finished_is_not_run_again(store):
    first = drive(store, make_config(), attempt="a")
    seen = FaultyStore(store)
    for mode in ("ErrorIfExists", "Overwrite", "Append"):
        assert drive(seen, make_config(mode=mode), attempt="b") == first
    assert seen.writes == 0, "a result may lie where nobody may write any more"


def test_a_committed_shard_is_not_scored_again(store):
    config = make_config()
    output = open_output(store, config)
    output.commit([stage(store, output, 1, "a")])
    again = Output.open(store, config, lambda: pytest.fail("planned twice"))
    assert {shard: staged.attempt for shard, staged in again.committed().items()} == {1: "a"}


def test_the_attempt_that_was_committed_first_wins_and_the_loser_leaves_nothing(store):
    config = make_config()
    first, second = open_output(store, config), open_output(store, config)
    first.commit([stage(store, first, 0, "a")])
    (winner,) = second.commit([stage(store, second, 0, "b")])
    assert winner.attempt == "a"
    assert not [key for key in store.objects if "-b." in key]


def test_rows_that_do_not_add_up_are_refused_before_the_marker(store):
    config = make_config()
    output = open_output(store, config, plan_of(config, shards=1))
    staged = stage(store, output, 0, "a")
    wrong = type(staged).from_json({**staged.to_json(), "rows_rejected": 2})
    with pytest.raises(JobFailed) as error:
        output.commit([wrong])
    assert error.value.reason is Reason.ROW_COUNT_MISMATCH
    assert marker_key(output.work, 0) not in store.objects


def test_an_unfinished_plan_cannot_be_finalized(store):
    output = open_output(store, make_config())
    output.commit([stage(store, output, 0, "a")])
    with pytest.raises(JobFailed, match="2 of 3 shards are not committed"):
        output.finalize(run={})
    assert "_SUCCESS" not in store.objects


def test_another_job_is_refused_while_the_first_is_unfinished(store):
    open_output(store, make_config(name="owner", uid="u-1"))
    for mode in ("ErrorIfExists", "Overwrite", "Append"):
        message = refused(store, make_config(mode=mode), Reason.OUTPUT_PATH_CLAIMED)
        assert "job 'owner' in namespace 'default' (uid u-1)" in message


def test_a_changed_job_does_not_go_on_with_the_old_plan(store):
    open_output(store, make_config())
    changed = make_config(model="file:///other.onnx")
    assert "another spec.model" in refused(store, changed, Reason.OUTPUT_PATH_CLAIMED)
    message = refused(store, make_config(mode="Overwrite"), Reason.OUTPUT_PATH_CLAIMED)
    assert "another spec.output.mode" in message


def test_a_recreated_resource_goes_on(store):
    open_output(store, make_config(uid="1"))
    drive(store, make_config(uid="2"), attempt="a")
    assert read_by_glob(store) == expected_rows()


@pytest.mark.parametrize(
    ("key", "mode", "accepted"),
    [
        ("part-0.csv", "ErrorIfExists", False),
        ("part-0.csv", "Overwrite", False),
        ("k=v/part-0.csv", "Append", False),
        ("_rejects/part-0.csv", "Append", False),
        ("notes.txt", "ErrorIfExists", False),
        ("notes.txt", "Overwrite", True),
        (".hidden", "ErrorIfExists", True),
        ("_logs/x", "ErrorIfExists", True),
    ],
)
def test_files_of_others_are_never_touched(store, key, mode, accepted):
    store.create(key, b"theirs")
    if accepted:
        drive(store, make_config(mode=mode), attempt="a")
    else:
        assert key in refused(store, make_config(mode=mode), Reason.OUTPUT_EXISTS)
        assert list(store.objects) == [key]
    assert store.get(key) == b"theirs"


def test_a_stray_file_that_appears_later_stops_the_job_before_its_manifest(store):
    config = make_config()
    output = open_output(store, config)
    output.commit([stage(store, output, n, "a") for n in range(3)])
    store.create("part-9.csv", b"")
    with pytest.raises(JobFailed, match="part-9"):
        output.finalize(run={})
    store.delete(["part-9.csv"])
    drive(store, config, attempt="b")
    assert read_by_glob(store) == expected_rows()


def test_a_name_that_holds_something_else_is_not_accepted(store):
    output = open_output(store, make_config())
    staged = stage(store, output, 0, "a")
    store.create(staged.files[0].path, b"something else")
    with pytest.raises(JobFailed) as error:
        output.commit([staged])
    assert error.value.reason is Reason.OUTPUT_EXISTS


def test_overwrite_replaces_the_listed_files_only(store):
    drive(store, make_config(name="old", model="file:///old.onnx"), attempt="o")
    store.create("notes.txt", b"")
    old = set(visible_bytes(store)) - {"notes.txt", "_SUCCESS"}
    output = open_output(store, make_config(mode="Overwrite"))
    output.commit([stage(store, output, n, "n") for n in range(3)])
    assert old <= set(visible_bytes(store))
    output.finalize(run={})
    assert not old & set(visible_bytes(store))
    assert "notes.txt" in store.objects
    assert read_by_manifest(store) == read_by_glob(store) == expected_rows()


def test_append_adds_to_the_manifest(store):
    drive(store, make_config(name="old", model="file:///old.onnx"), attempt="o")
    manifest = drive(store, make_config(mode="Append"), attempt="n")
    assert read_by_manifest(store) == read_by_glob(store) == sorted(expected_rows() * 2)
    assert manifest.counts.read == 2 * 3 * ROWS
    assert [manifest.counts_of(plan).read for plan in manifest.plans] == [3 * ROWS] * 2
    assert verify(store) == ()


def test_a_result_is_not_replaced_unless_the_mode_says_so(store):
    drive(store, make_config(name="old", model="file:///old.onnx"), attempt="o")
    before = dict(store.objects)
    refused(store, make_config(), Reason.OUTPUT_EXISTS)
    assert store.objects == before


def test_names_are_never_used_twice(store):
    """A -> B -> A: a zombie of the first A must not meet its own names again."""
    first, second = (
        make_config(mode="Overwrite"),
        make_config(name="b", mode="Overwrite", model="file:///b"),
    )
    paths = []
    for config in (first, second, first, second):
        manifest = drive(store, config, attempt="x")
        paths += manifest.paths
        assert read_by_manifest(store) == read_by_glob(store) == expected_rows()
    assert len(paths) == len(set(paths))


def test_markers_survive_the_job_so_that_zombies_lose(store):
    config = make_config()
    zombie = open_output(store, config)
    drive(store, config, attempt="a")
    before = visible_bytes(store)
    (winner,) = zombie.commit([stage(store, zombie, 0, "z", by_attempt=True)])
    assert winner.attempt == "a"
    assert zombie.finalize(run={}).counts.read == 9
    assert visible_bytes(store) == before


def test_a_marker_of_a_newer_release_is_not_guessed_at(store):
    config = make_config()
    output = open_output(store, config)
    store.create(marker_key(output.work, 0), json.dumps({"version": 99}).encode())
    with pytest.raises(JobFailed) as error:
        open_output(store, config).committed()
    assert error.value.reason is Reason.VERSION_SKEW


@pytest.mark.parametrize("weakness", [{"exclusive": False}, {"exclusive": False, "scope": "posix"}])
def test_a_store_that_lets_several_win_is_refused_before_planning(weakness):
    store = MemoryStore(**weakness)
    with pytest.raises(JobFailed) as error:
        Output.open(store, make_config(), lambda: pytest.fail("planned"))
    assert error.value.reason is Reason.OUTPUT_STORE_UNSAFE
    assert store.objects == {}


def test_a_store_that_ignores_if_match_cannot_be_overwritten():
    store = MemoryStore(conditional=False)
    drive(store, make_config(name="old", model="file:///old.onnx"), attempt="o")
    refused(store, make_config(mode="Overwrite"), Reason.OUTPUT_STORE_UNSAFE)


def test_of_jobs_that_race_for_a_claim_one_wins(store):
    barrier = threading.Barrier(4)
    outcomes = []

    def race(name):
        config = make_config(name=name, model=f"file:///{name}.onnx")

        def planned():
            barrier.wait(5)
            return plan_of(config)

        try:
            outcomes.append(Output.open(store, config, planned).work)
        except JobFailed as error:
            outcomes.append(error.reason)

    threads = [threading.Thread(target=race, args=(f"job{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [outcome for outcome in outcomes if outcome is not Reason.OUTPUT_PATH_CLAIMED]
    assert len(outcomes) == 4
    assert [len(work) for work in winners] == [64]


def test_drivers_of_one_job_that_race_share_one_plan(store):
    """The input changed between the two listings: the loser takes the winner's plan."""
    config = make_config()

    def slow_plan():
        open_output(store, config, plan_of(config, shards=2))
        return plan_of(config, shards=5)

    output = Output.open(store, config, slow_plan)
    assert len(output.plan.shards) == 2


def test_released_claims_make_room_and_leave_no_rows_behind(store):
    abandoned = open_output(store, make_config(name="abandoned"))
    abandoned.commit([stage(store, abandoned, 0, "a")])
    assert collect(store) == ()
    assert read_by_glob(store) != []
    collect(store, release=True)
    assert list(store.objects) == [CLAIM]
    drive(store, make_config(), attempt="n")
    before = visible_bytes(store)
    assert read_by_glob(store) == expected_rows()
    with pytest.raises((JobFailed, Unavailable)):
        abandoned.finalize(run={})
    assert visible_bytes(store) == before


def test_garbage_of_a_finished_job_goes_and_the_result_stays(store):
    drive(store, make_config(), attempt="a")
    store.create("_bij/tmp/1", b"")
    before = visible_bytes(store)
    removed = collect(store)
    assert "_bij/tmp/1" in removed
    assert visible_bytes(store) == before
    assert len([key for key in store.objects if key.startswith("_bij/")]) == 2
    assert drive(store, make_config(), attempt="b").counts.read == 9


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda s, key: s.delete([key]), "is missing"),
        (lambda s, key: s.put(key, b"short"), "bytes instead of"),
        (lambda s, key: s.put(key, s.get(key)[::-1]), "sha256 differs"),
        (lambda s, _: s.put("part-1.csv", b""), "not listed"),
        (lambda s, _: s.delete(["_SUCCESS"]), "no _SUCCESS"),
    ],
)
def test_verify_names_what_is_wrong(store, damage, problem):
    manifest = drive(store, make_config(), attempt="a")
    damage(store, manifest.files[0].path)
    assert [problem in found for found in verify(store)] == [True]


def test_verify_reads_results_in_blocks(store, monkeypatch):
    drive(store, make_config(), attempt="a")
    lengths = []
    read_at, get = MemoryFile.read_at, store.get

    def measured(file, offset, length):
        lengths.append(length)
        return read_at(file, offset, length)

    def refused(key):
        assert "part-" not in key, "the whole file was read at once"
        return get(key)

    monkeypatch.setattr(MemoryFile, "read_at", measured)
    monkeypatch.setattr(store, "get", refused)
    monkeypatch.setattr(verifying, "_BLOCK_BYTES", 5)
    assert verify(store) == ()
    assert max(lengths) == 5
    assert len(lengths) > 6


def test_verify_counts_the_rows_of_each_file(store):
    drive(store, make_config(), attempt="a")
    document = json.loads(store.get("_SUCCESS"))
    document["files"][0]["rows"] += 1
    store.put("_SUCCESS", json.dumps(document).encode())
    problems = verify(store)
    assert any("has 2 rows instead of 3" in problem for problem in problems)
    assert any("the files listed hold 7" in problem for problem in problems)


def test_of_two_drivers_that_finalize_at_once_the_second_adopts_the_first(store):
    config = make_config()
    first, second = open_output(store, config), open_output(store, config)
    first.commit([stage(store, first, n, "a") for n in range(3)])
    create = store.create

    def overtaken(key, body):
        if key == "_SUCCESS":
            store.create = create
            first.finalize(run={"driver": "first"})
        create(key, body)

    store.create = overtaken
    assert second.finalize(run={"driver": "second"}).run == {"driver": "first"}
    assert json.loads(store.get("_SUCCESS"))["run"] == {"driver": "first"}
