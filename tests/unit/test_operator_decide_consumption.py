"""What a job has used is the sum of what its drivers have told, and nothing is counted twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from batch_inference_operator.decide.record import Record
from batch_inference_operator.observation import RunPod
from testkit.observations import (
    make_ended_pod,
    make_failure,
    make_pod,
    make_record,
    make_report,
    make_run,
    make_success,
    observe,
    status_for,
    stored,
)

FIRST = make_pod()
REPLACED = make_pod(uid="uid-of-its-successor")
NEXT_RUN = make_pod(run=2)


def consumed(record: Record) -> tuple[int | None, int | None]:
    found = record.status.resources_consumed
    return found.cpu_seconds, found.gpu_seconds


def after_reports(record: Record, *told: tuple[RunPod, int, int | None]) -> Record:
    """The job after its first pods, one after another, have told what they used."""
    for pod, cpu_seconds, gpu_seconds in told:
        report = make_report(run_number=pod.run, cpu_seconds=cpu_seconds, gpu_seconds=gpu_seconds)
        status = status_for(record, observe(make_run(pod.run), pod, report))
        record = stored(record, status)
    return record


SUMS: dict[str, tuple[list[tuple[RunPod, int, int | None]], tuple[int, int | None]]] = {
    "one driver, as often as it is asked": (
        [(FIRST, 5, 1), (FIRST, 9, 2), (FIRST, 9, 2), (FIRST, 12, 3)], (12, 3),
    ),
    "a driver that is started again in its pod": (
        [(FIRST, 100, 50), (FIRST, 4, 1), (FIRST, 9, 2)], (109, 52),
    ),
    "a driver that is started again twice": (
        [(FIRST, 100, 50), (FIRST, 4, 1), (FIRST, 3, 0), (FIRST, 5, 2)], (109, 53),
    ),
    "a pod that is replaced": ([(FIRST, 100, 50), (REPLACED, 4, 1)], (104, 51)),
    "a pod that is replaced, whose successor was long out of reach": (
        [(FIRST, 100, 50), (REPLACED, 700, 300), (REPLACED, 701, 301)], (801, 351),
    ),
    "a next run": ([(FIRST, 100, 50), (NEXT_RUN, 200, 60), (NEXT_RUN, 210, 61)], (310, 111)),
    "GPUs that a driver has not begun to use": (
        [(FIRST, 100, 50), (REPLACED, 4, None), (REPLACED, 5, 1)], (105, 51),
    ),
    "no GPUs": ([(FIRST, 100, None), (REPLACED, 4, None)], (104, None)),
}  # fmt: skip


@pytest.mark.parametrize(("told", "sums"), SUMS.values(), ids=SUMS)
def test_what_drivers_have_used_is_added_up(told, sums):
    assert consumed(after_reports(make_record(), *told)) == sums


ENDS = {
    "success": make_ended_pod(0, make_success(cpu_seconds=11, gpu_seconds=2), uid=REPLACED.uid),
    "failure": make_ended_pod(
        65, make_failure("SchemaMismatch", cpu_seconds=11, gpu_seconds=2), uid=REPLACED.uid
    ),
}


@pytest.mark.parametrize("pod", ENDS.values(), ids=ENDS)
def test_the_last_report_of_a_pod_takes_the_place_of_its_earlier_ones(pod):
    record = after_reports(make_record(), (FIRST, 100, 50), (REPLACED, 4, 1))

    assert consumed(stored(record, status_for(record, observe(make_run(), pod)))) == (111, 52)


@pytest.mark.parametrize("pod", ENDS.values(), ids=ENDS)
def test_a_pod_that_was_never_asked_counts_when_it_has_ended(pod):
    record = after_reports(make_record(), (FIRST, 100, 50))

    assert consumed(stored(record, status_for(record, observe(make_run(), pod)))) == (111, 52)


def test_a_run_that_misses_a_deadline_counts_to_its_end():
    changes = {"spec.activeDeadlineSeconds": 10}
    record = after_reports(make_record(), (FIRST, 100, 50))
    record = replace(make_record(changes), status=record.status)
    report = make_report(cpu_seconds=4, gpu_seconds=1)

    status = status_for(record, observe(make_run(), REPLACED, report))

    assert status.phase == "Failed"
    assert consumed(stored(record, status)) == (104, 51)


def cut_off(record: Record, *names: str) -> Record:
    """The job as it is stored by a CRD that does not know these fields."""
    known: dict[str, Any] = dict.fromkeys(names)
    found = record.status.resources_consumed.model_copy(update=known)
    return replace(record, status=record.status.model_copy(update={"resources_consumed": found}))


def test_what_an_earlier_release_has_counted_stays():
    before = cut_off(after_reports(make_record(), (FIRST, 100, 50)), "reported_by")

    once = after_reports(before, (REPLACED, 5, 1))

    assert consumed(once) == (100, 50), "it may be the driver that was counted"
    assert consumed(after_reports(once, (REPLACED, 5, 1))) == (100, 50)
    assert consumed(after_reports(once, (REPLACED, 25, 4))) == (120, 53)


def test_where_a_crd_of_an_earlier_release_cuts_off_who_reported_nothing_counts_twice():
    record = make_record()
    for told in ((FIRST, 100, 50), (REPLACED, 4, 1), (REPLACED, 9, 2), (REPLACED, 120, 60)):
        record = cut_off(
            after_reports(record, told),
            "reported_by", "earlier_cpu_seconds", "earlier_gpu_seconds",
        )  # fmt: skip

    assert consumed(record) == (120, 60)
