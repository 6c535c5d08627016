"""The page of `status`: where a job stands and why first, details below, commands last."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch_inference_api.v1alpha1.status import (
    CompletionStats,
    ModelStatus,
    OutputStatus,
    PartialFailure,
    ShardStatus,
    WorkerStatus,
)
from batch_inference_operator.decide.record import parse_time
from batch_inference_operator.durations import format_duration
from batch_inference_operator.kubectl_bij.paint import Tone, tone_of
from batch_inference_operator.kubectl_bij.progress_text import (
    bar,
    percent,
    progress_facts,
    quiet_for,
)
from batch_inference_operator.kubectl_bij.standing import State
from batch_inference_operator.kubectl_bij.wording import ago, count, note, readable, size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from batch_inference_operator.decide.record import Record
    from batch_inference_operator.kubectl_bij.advice import Advice
    from batch_inference_operator.kubectl_bij.paint import Paint
    from batch_inference_operator.kubectl_bij.standing import Standing

    Fact = tuple[str, str]

_LABEL_WIDTH = 10
_TEXT_WIDTH = 88
_MOST_SAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """An event about the job."""

    seen: datetime
    reason: str
    message: str
    is_warning: bool = False
    times: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """All that the page tells."""

    record: Record
    standing: Standing
    advice: Advice
    created: datetime
    events: tuple[Happening, ...] = ()


def page(described: Described, *, now: datetime, paint: Paint) -> tuple[str, ...]:
    """The lines of the page."""
    sections = (
        _headline(described, now, paint),
        _reason(described, paint),
        _details(described.record, paint),
        _samples(described.record, paint),
        _events(described.events, now, paint),
        _commands(described.advice, paint),
    )
    lines: list[str] = []
    for section in sections:
        if block := list(section):
            lines += ["", *block] if lines else block
    return tuple(lines)


def _headline(described: Described, now: datetime, paint: Paint) -> Iterator[str]:
    record, standing = described.record, described.standing
    word = paint(standing.word, tone_of(standing))
    name = paint(f"{record.namespace}/{record.name}", Tone.STRONG)
    yield f"{name}  {word}  {paint(_age(described, now), Tone.QUIET)}"
    if (facts := progress_facts(record)) and record.status.progress is not None:
        yield f"{bar(record.status.progress.percentage)} {percent(record)}  {'  '.join(facts)}"
    if quiet := quiet_for(record, standing, now=now):
        yield paint(f"No row was scored for {quiet}.", Tone.TROUBLE)


def _age(described: Described, now: datetime) -> str:
    """Since when, where that is known: a job in progress does not say when its phase began."""
    standing = described.standing
    if standing.since is None or standing.state is State.IN_PROGRESS:
        return f"created {ago(described.created, now)}"
    return ago(standing.since, now)


def _reason(described: Described, paint: Paint) -> Iterator[str]:
    standing, advice = described.standing, described.advice
    said = readable(standing.message)
    if standing.reason and standing.reason != standing.word:
        said = f"{standing.reason}: {said}" if said else standing.reason
    yield from _fact("Why", said, paint)
    if advice.meaning:
        yield from _fact("Meaning", advice.meaning, paint)
    if standing.is_behind:
        text = "The spec was changed; the operator is about to look at it."
        yield from _fact("Edited", text, paint)
    yield from _fact("What to do", advice.text, paint)


def _details(record: Record, paint: Paint) -> Iterator[str]:
    for label, text in (
        *_rows(record),
        *_shards(record),
        *_run(record),
        *_times(record),
        *_model(record),
        *_data(record),
    ):
        yield from _fact(label, text, paint)


def _rows(record: Record) -> Iterator[Fact]:
    stats = record.status.completion_stats or CompletionStats()
    parts = (
        (stats.successful_count, "written"),
        (stats.failed_count, "rejected"),
        (stats.filtered_count, "filtered out"),
        (stats.incomplete_count or None, "to go"),
    )
    known = [f"{count(number)} {what}" for number, what in parts if number is not None]
    if known:
        yield "Rows", f"{', '.join(known)} (committed shards)"


def _shards(record: Record) -> Iterator[Fact]:
    shards = record.status.shards or ShardStatus()
    if not shards.total:
        return
    parts = ((shards.active, "active"), (shards.pending, "pending"), (shards.failed, "failed"))
    rest = "".join(f", {count(number)} {what}" for number, what in parts if number)
    which = f" ({shards.failed_indexes})" if shards.failed_indexes else ""
    yield (
        "Shards",
        f"{count(shards.succeeded or 0)} of {count(shards.total)} committed{rest}{which}",
    )


def _run(record: Record) -> Iterator[Fact]:
    workers = record.status.workers or WorkerStatus()
    if workers.desired:
        yield "Workers", f"{count(workers.ready or 0)} of {count(workers.desired)} ready"
    run = record.status.run
    if run is not None and run.number:
        restarts = f", driver started {run.attempt} times" if (run.attempt or 0) > 1 else ""
        job = f", Job {run.job_name}" if run.job_name else ""
        yield "Run", f"{run.number}{job}{restarts}"


def _times(record: Record) -> Iterator[Fact]:
    status = record.status
    began, ended = parse_time(status.start_time), parse_time(status.completion_time)
    if began is not None:
        end = f", ended {ended:%Y-%m-%d %H:%M:%S}" if ended else ""
        took = f", {'took' if ended else 'so far'} {status.duration}" if status.duration else ""
        yield "Time", f"began {began:%Y-%m-%d %H:%M:%S}{end} UTC{took}"
    if record.job is not None and ended is None and record.spec.active_deadline_seconds:
        yield "Deadline", f"{format_duration(record.spec.active_deadline_seconds)} after it began"


def _model(record: Record) -> Iterator[Fact]:
    model = record.status.model or ModelStatus()
    if record.job is None and model == ModelStatus():
        return
    facts = (
        record.spec.model.storage_uri if record.job else None,
        model.resolved_digest and f"{model.resolved_digest[:19]}...",
        model.execution_provider,
        model.batch_size and f"{count(model.batch_size)} rows a call",
    )
    yield "Model", ", ".join(readable(fact) for fact in facts if fact)


def _data(record: Record) -> Iterator[Fact]:
    output = record.status.output or OutputStatus()
    if record.job is not None:
        uris = record.spec.input.storage_uris
        more = f" and {len(uris) - 1} more" if len(uris) > 1 else ""
        yield "Input", note(uris[0]) + more
    uri = output.storage_uri or (record.spec.output.storage_uri if record.job else None)
    if uri:
        files = f", {count(output.files, 'file')}" if output.files is not None else ""
        much = f", {size(output.bytes)}" if output.bytes is not None else ""
        yield "Output", f"{readable(uri)}{files}{much}"
    if output.manifest_uri:
        yield "Manifest", readable(output.manifest_uri)
    if output.rejects_uri:
        yield "Rejects", readable(output.rejects_uri)


def _samples(record: Record, paint: Paint) -> Iterator[str]:
    failures = record.status.partial_failures
    if not failures:
        return
    stats = record.status.completion_stats or CompletionStats()
    shown = failures[:_MOST_SAMPLES]
    total = max(stats.failed_count or 0, len(failures))
    yield paint(f"Rejected rows ({len(shown)} of {count(total)})", Tone.STRONG)
    for failure in shown:
        where = f"row {failure.row}" if failure.row is not None else f"byte {failure.byte_offset}"
        yield f"  {note(failure.file or '?')}, {where}"
        yield f"    {_cause(failure)}"


def _cause(failure: PartialFailure) -> str:
    said = ": ".join(filter(None, (failure.error, failure.message)))
    return note(f"{said} (in {failure.stage})" if failure.stage else said)


def _events(events: tuple[Happening, ...], now: datetime, paint: Paint) -> Iterator[str]:
    if events:
        yield paint("Recent events", Tone.STRONG)
    for event in events:
        times = f" ({event.times} times)" if event.times > 1 else ""
        reason = paint(event.reason, Tone.TROUBLE if event.is_warning else Tone.PLAIN)
        yield f"  {ago(event.seen, now):>12}  {reason}  {note(event.message)}{times}"


def _commands(advice: Advice, paint: Paint) -> Iterator[str]:
    if advice.commands:
        yield paint("Try next", Tone.STRONG)
    for command in advice.commands:
        yield f"  {command}"


def _fact(label: str, text: str, paint: Paint) -> Iterator[str]:
    """A label and its text, wrapped beside it; long words such as URIs stay whole."""
    wrapped = textwrap.wrap(text, _TEXT_WIDTH, break_long_words=False, break_on_hyphens=False) or [
        ""
    ]
    yield f"{paint(label.ljust(_LABEL_WIDTH), Tone.QUIET)}  {wrapped[0]}".rstrip()
    for line in wrapped[1:]:
        yield f"{' ' * _LABEL_WIDTH}  {line}"
