"""Progress lines, the watch that shows them, and the screen they are drawn on."""

from __future__ import annotations

import io
import re
from datetime import timedelta

import pytest

from batch_inference_operator.cluster.api import Forbidden, Unreachable
from batch_inference_operator.cluster.user_calls import JobChange
from batch_inference_operator.decide.record import format_time, read_record
from batch_inference_operator.durations import format_duration
from batch_inference_operator.kubectl_bij.errors import CommandFailed, ExitCode
from batch_inference_operator.kubectl_bij.feed import Feed, Outage, follow
from batch_inference_operator.kubectl_bij.paint import Paint, Tone, choose_paint
from batch_inference_operator.kubectl_bij.progress_text import (
    bar,
    change_line,
    job_lines,
    table_lines,
)
from batch_inference_operator.kubectl_bij.screen import Screen
from batch_inference_operator.kubectl_bij.standing import find_standing
from batch_inference_operator.kubectl_bij.watch import LineView, LiveView, watch
from batch_inference_operator.kubectl_bij.wording import ago, count, size
from testkit.bij_sessions import (
    NOW,
    FakeCalls,
    ScriptedFeed,
    complete_job,
    failed_job,
    job_object,
    printed,
    running_job,
    session,
    snapshot,
    suspended_job,
    told,
)


@pytest.mark.parametrize(
    ("percentage", "drawn"),
    [(None, "[----------]"), (0, "[----------]"), (59, "[#####-----]"), (99, "[#########-]"),
     (100, "[##########]")],
)  # fmt: skip
def test_a_bar_is_full_only_when_all_is_done(percentage, drawn):
    assert bar(percentage, 10) == drawn


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (60, "1m"), (372, "6m12s"), (600, "10m"), (2700, "45m"),
     (7500, "2h5m"), (273_600, "3d4h"), (-3, "0s")],
)  # fmt: skip
def test_durations(seconds, text):
    assert format_duration(seconds) == text


def test_numbers_and_sizes():
    assert [count(None), count(None, "row"), count(1, "row"), count(1234, "row")] == [
        "?", "? rows", "1 row", "1,234 rows",
    ]  # fmt: skip
    assert [size(812), size(1536), size(81_234_567)] == ["812 B", "1.5 KiB", "77.5 MiB"]
    assert ago(NOW + timedelta(seconds=5), NOW) == "just now"


LINES = {
    "a job that is new": (job_object(), "churn  New  the operator has not looked at the job yet"),
    "a job that runs": (
        running_job(),
        (
            "churn  Running  61 %  12,200,000/20,000,000 rows  48,210 rows/s  2m42s left  "
            "12 rejected  workers 3/4  rows are scored"
        ),
    ),
    "a job with a trouble": (
        running_job(reason="Unschedulable", message="no node", status={}),
        "churn  Running  Unschedulable: no node",
    ),
    "rows without a total": (
        running_job(status={"progress": {"rowsProcessed": 5}}),
        "churn  Running  5 rows  rows are scored",
    ),
    "a job that was resumed a moment ago": (
        {**suspended_job(), "metadata": {**suspended_job()["metadata"], "generation": 2}},
        "churn  Suspended  the spec was changed; the operator is about to look at it",
    ),
    "a job that is complete": (
        complete_job(),
        "churn  Succeeded  19999988 rows written, 12 rejected",
    ),
    "a job that failed": (failed_job(), "churn  Failed  SchemaMismatch: column 'age' is missing"),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "line"), LINES.values(), ids=LINES)
def test_a_line_holds_what_is_known(raw, line):
    record = read_record(raw)
    assert change_line(record, find_standing(record)) == line


def test_one_job_takes_a_few_lines():
    record = read_record(running_job())
    assert job_lines(record, find_standing(record), now=NOW) == (
        ("churn  Running  [##################------------]  61 %", Tone.STRONG),
        ("  12,200,000/20,000,000 rows  48,210 rows/s  2m42s left  12 rejected  workers 3/4",
         Tone.PLAIN),
        ("  12/20 shards committed  run 1  for 6m12s", Tone.QUIET),
        ("  rows are scored", Tone.QUIET),
    )  # fmt: skip


def test_many_jobs_stand_in_columns():
    jobs = [read_record(raw) for raw in (progressed(5), failed_job("longer"))]
    assert table_lines(tuple((job, find_standing(job)) for job in jobs)) == (
        ("churn   Running  [------------]  5 rows", Tone.STRONG),
        (
            "longer  Failed   [------------]          SchemaMismatch: column 'age' is missing",
            Tone.BAD,
        ),
    )


def progressed(rows: int):
    return running_job(status={"progress": {"rowsProcessed": rows}})


def watched(name, seen, *, calls=None):
    used = session(calls or FakeCalls())
    view = LineView(used)
    return watch(used, name, feed=ScriptedFeed(seen), view=view), used


def test_a_watch_ends_with_the_job_and_prints_a_line_for_each_change():
    first, again, more = (snapshot(progressed(rows)) for rows in (5, 5, 9))
    code, used = watched("churn", [None, first, None, again, more, snapshot(complete_job())])
    assert code is ExitCode.SUCCESS
    assert [re.sub(r"^\d\d:\d\d:\d\d  ", "", line) for line in printed(used)] == [
        "churn  Running  5 rows  rows are scored",
        "churn  Running  9 rows  rows are scored",
        "churn  Succeeded  19999988 rows written, 12 rejected",
    ]


def test_a_watch_of_a_job_that_fails_ends_with_1():
    code, used = watched("churn", [snapshot(failed_job())])
    assert code is ExitCode.JOB_FAILED
    assert printed(used)[-1].endswith("SchemaMismatch: column 'age' is missing")


def test_a_watch_goes_on_while_a_job_is_suspended():
    code, _ = watched("churn", [snapshot(suspended_job()), snapshot(complete_job())])
    assert code is ExitCode.SUCCESS


def test_a_watch_of_a_job_that_is_deleted_says_so():
    with pytest.raises(CommandFailed, match="'churn' was deleted before it was complete"):
        watched("churn", [snapshot(running_job()), snapshot()])


def test_a_watch_of_a_job_that_is_not_there_says_so():
    calls = FakeCalls(jobs=[running_job("churn-2")])
    with pytest.raises(CommandFailed, match="did you mean 'churn-2'"):
        watched("churn", [snapshot()], calls=calls)


class Stopped(Exception):
    pass


class EndingFeed(ScriptedFeed):
    def next(self, timeout_seconds):
        if not self._seen:
            raise Stopped
        return super().next(timeout_seconds)


def test_a_watch_of_a_namespace_outlives_its_jobs():
    used = session(FakeCalls())
    seen = [snapshot(), snapshot(complete_job("a")), snapshot(complete_job("a"), progressed(3)),
            snapshot(progressed(3))]  # fmt: skip
    with pytest.raises(Stopped):
        watch(used, None, feed=EndingFeed(seen), view=LineView(used))
    assert [line[10:] for line in printed(used)] == [
        "no jobs in namespace 'scoring' yet",
        "a  Succeeded  19999988 rows written, 12 rejected",
        "churn  Running  3 rows  rows are scored",
        "a  deleted",
    ]


def test_an_outage_is_told_once_and_survived():
    job = snapshot(progressed(5))
    seen = [job, Outage("no route"), Outage("no route"), job, Outage("gone"),
            snapshot(complete_job())]  # fmt: skip
    code, used = watched("churn", seen)
    assert code is ExitCode.SUCCESS
    assert told(used) == ["no route; trying again", "gone; trying again"]


def test_on_a_terminal_lines_are_drawn_in_place(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "24")
    used = session(FakeCalls())
    view = LiveView(used, "churn")
    view.show(snapshot(progressed(5)))
    view.show(snapshot(progressed(9)))
    first, second = used.out.getvalue().split("\033[3A\r\033[J")
    assert "  5 rows\n" in first
    assert "  9 rows\n" in second
    assert all(len(line) < 40 for line in (first + second).splitlines())


def test_a_screen_shows_no_more_than_fits(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "5")
    stream = io.StringIO()
    Screen(stream, Paint()).draw([(f"job {n}", Tone.PLAIN) for n in range(9)])
    assert stream.getvalue().splitlines() == ["job 0", "job 1", "job 2", "... and 6 more"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "is_on"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
    ids=["a terminal", "NO_COLOR", "a dumb terminal", "a pipe"],
)
def test_colours_are_for_terminals_that_want_them(stream, environment, is_on):
    paint = choose_paint(stream, environment)
    assert paint("x", Tone.BAD) == ("\033[1;31mx\033[0m" if is_on else "x")


def test_the_feed_follows_changes_and_lists_again_when_a_watch_ends():
    more, other = progressed(9), running_job("other")
    changes = [
        JobChange(raw=more),
        JobChange(raw=other),
        JobChange(raw=more, is_gone=True),
    ]
    calls = FakeCalls(jobs=[progressed(5)], watches=[changes, Forbidden("no")])
    pauses: list[float] = []
    seen = follow(calls, None, pause=pauses.append)
    listed = snapshot(progressed(5))
    assert [next(seen) for _ in range(5)] == [
        listed, snapshot(more), snapshot(more, other), snapshot(other), listed,
    ]  # fmt: skip
    assert pauses == [0.2]
    with pytest.raises(Forbidden):
        next(seen)


def test_the_feed_tells_of_a_lost_server_only_when_it_stays_away():
    lost = Unreachable("no route")
    calls = FakeCalls(jobs=[progressed(5)], watches=[lost])
    seen = follow(calls, None, pause=lambda _seconds: None)
    assert next(seen) == snapshot(progressed(5))
    calls.refusal = lost
    assert next(seen) == Outage("no route")
    calls.refusal = None
    calls.watches = [[]]
    assert next(seen) == snapshot(progressed(5))


def test_a_watch_that_a_proxy_cuts_is_no_outage():
    cut = Unreachable("incomplete read")
    calls = FakeCalls(jobs=[progressed(5)], watches=[cut, cut, cut])
    seen = follow(calls, None, pause=lambda _seconds: None)
    assert [next(seen) for _ in range(3)] == [snapshot(progressed(5))] * 3


def test_a_server_that_was_never_reached_ends_the_feed():
    calls = FakeCalls(refusal=Unreachable("no route"))
    with pytest.raises(Unreachable):
        next(follow(calls, None, pause=lambda _seconds: None))


def test_the_feed_waits_longer_the_longer_a_server_is_away():
    calls = FakeCalls(jobs=[progressed(5)], watches=[Unreachable("no route")])
    pauses: list[float] = []
    seen = follow(calls, None, pause=pauses.append)
    next(seen)
    calls.refusal = Unreachable("no route")
    for _ in range(1100):  # more than a float can double
        next(seen)
    assert pauses[:4] == [0.4, 0.8, 1.6, 3.2]
    assert max(pauses) == 15.0


def test_rows_that_stand_still_are_noticed():
    last = format_time(NOW - timedelta(minutes=7))
    record = read_record(running_job(status={"progress": {"lastUpdatedTime": last}}))
    lines = job_lines(record, find_standing(record), now=NOW)
    assert ("  no row scored for 7m", Tone.QUIET) in lines


def test_whoever_waits_hears_of_what_ended_the_feed():
    class Broken(FakeCalls):
        def list_jobs(self, _name=None):
            raise LookupError("a defect")

    with pytest.raises(LookupError, match="a defect"):
        Feed(Broken(), "churn").next(60)
