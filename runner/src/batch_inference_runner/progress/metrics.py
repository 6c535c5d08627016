"""A ProgressReport in the Prometheus text format, version 0.0.4."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch_inference_api.runner_contract import RunPhase
from batch_inference_runner.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batch_inference_api.runner_contract import ProgressReport

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(report: ProgressReport) -> str:
    """Write every count of the report as a metric. Samples that are not known are left out."""
    return "".join((*_counts(report), *_pace(report)))


def _counts(report: ProgressReport) -> tuple[str, ...]:
    rows, shards, workers = report.rows, report.shards, report.workers
    return (
        _family(
            "bij_rows_total",
            "counter",
            "Rows of committed shards, by what became of them.",
            _by_state(written=rows.written, rejected=rows.rejected, filtered=rows.filtered),
        ),
        _family(
            "bij_rows_processed_total",
            "counter",
            "Rows scored, committed or in flight; never goes back.",
            [({}, rows.processed)],
        ),
        _family("bij_rows_planned", "gauge", "Rows of the dataset.", [({}, rows.total)]),
        _family(
            "bij_shards",
            "gauge",
            "Shards of the plan, by state.",
            _by_state(
                pending=shards.pending,
                active=shards.active,
                succeeded=shards.succeeded,
                failed=shards.failed,
            ),
        ),
        _family(
            "bij_workers",
            "gauge",
            "Workers that are wanted, and that are scoring.",
            _by_state(desired=workers.desired, ready=workers.ready),
        ),
    )


def _pace(report: ProgressReport) -> tuple[str, ...]:
    return (
        _family(
            "bij_rows_per_second",
            "gauge",
            "Rows scored a second, over the last half minute.",
            [({}, report.rows_per_second)],
        ),
        _family(
            "bij_progress_ratio",
            "gauge",
            "Share of the dataset that is scored, 0 to 1.",
            [({}, None if report.percentage is None else report.percentage / 100)],
        ),
        _family(
            "bij_estimated_remaining_seconds",
            "gauge",
            "Time left at the present rate.",
            [({}, report.estimated_remaining_seconds)],
        ),
        _family(
            "bij_elapsed_seconds", "gauge", "Age of this attempt.", [({}, report.elapsed_seconds)]
        ),
        _family(
            "bij_cpu_seconds_total",
            "counter",
            "CPU time of the driver and its scorers.",
            [({}, report.cpu_seconds)],
        ),
        _family(
            "bij_gpu_seconds_total",
            "counter",
            "Time during which scorers held a GPU.",
            [({}, report.gpu_seconds)],
        ),
        _family(
            "bij_phase",
            "gauge",
            "1 for the phase the run is in, 0 for the others.",
            [({"phase": phase.value}, float(phase is report.phase)) for phase in RunPhase],
        ),
        _family(
            "bij_runner_info",
            "gauge",
            "Always 1; says which version runs, and which run and attempt it is.",
            [
                (
                    {
                        "version": VERSION,
                        "run": str(report.run_number),
                        "attempt": str(report.attempt),
                    },
                    1,
                )
            ],
        ),
    )


def _by_state(**counts: int) -> list[tuple[dict[str, str], float | None]]:
    return [({"state": state}, count) for state, count in counts.items()]


def _family(
    name: str, kind: str, text: str, samples: Iterable[tuple[dict[str, str], float | None]]
) -> str:
    known = [(labels, value) for labels, value in samples if value is not None]
    if not known:
        return ""
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in known]
    return "\n".join(lines) + "\n"


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escape(value)}"' for key, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
