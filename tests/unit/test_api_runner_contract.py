"""What crosses the wire between operator and runner: strict to write, tolerant to read."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from batch_inference_api.runner_contract import (
    ContractVersionError,
    JobIdentity,
    ProgressReport,
    RowCounts,
    RowFailure,
    RunnerConfig,
    RunPhase,
)

DOCUMENTS = [RunnerConfig, ProgressReport]


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("version", ["2", "0", '"1"', "true", "null", "1.0"])
def test_an_unknown_contract_version_is_refused_before_anything_else_is_read(document, version):
    with pytest.raises(
        ContractVersionError, match="this package speaks version 1; use an operator"
    ):
        document.parse(f'{{"contractVersion": {version}, "job": 5}}')


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ('{"job": ', "is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"contractVersion": 1, "job": 5}', "cannot be read: job: Input should be"),
    ],
)
def test_what_is_not_the_document_is_refused(document, text, message):
    with pytest.raises(ContractVersionError, match=message):
        document.parse(text)


def test_a_refusal_quotes_no_value():
    with pytest.raises(ContractVersionError) as refusal:
        ProgressReport.parse('{"job": {"name": 5}, "message": ["hunter2"]}')
    assert "hunter2" not in str(refusal.value)


def test_unknown_fields_of_a_newer_minor_release_are_ignored():
    report = ProgressReport.parse('{"contractVersion": 1, "job": {"name": "a", "x": 1}, "y": 2}')
    assert report == ProgressReport(job=JobIdentity(name="a"))


def test_a_report_survives_the_wire_and_is_in_camel_case():
    report = ProgressReport(job=JobIdentity(name="a"), rows_per_second=5)
    text = report.model_dump_json()
    assert '"rowsPerSecond":5' in text
    assert '"contractVersion":1' in text
    assert ProgressReport.parse(text) == report
    assert ProgressReport.parse(report.model_dump_json(exclude_defaults=True)) == report


def test_writing_is_strict():
    with pytest.raises(ValidationError):
        ProgressReport(job=JobIdentity(name="a"), percentage="many")


def test_of_a_report_that_was_cut_all_is_read_but_what_was_cut():
    sample = RowFailure(file="a.csv", row=3, stage="Read", error="InvalidCsvRow", message="m")
    report = ProgressReport(
        job=JobIdentity(name="a"),
        phase=RunPhase.FAILED,
        final=True,
        reason="ErrorThresholdExceeded",
        message="too many",
        rows=RowCounts(total=1000, processed=600),
        cpu_seconds=12345,
        failures=(sample, sample),
    )
    text = report.model_dump_json()
    whole = report.model_dump()
    unset = ProgressReport(job=report.job).model_dump()
    for length in range(text.index('"message"'), len(text)):
        found = ProgressReport.parse_cut(text[:length]).model_dump()
        for name, value in found.items():
            is_beginning = name == "message" and "too many".startswith(value or "")
            assert is_beginning or value in (whole[name], unset[name]), (length, name)
    assert ProgressReport.parse_cut(text[:-1]).cpu_seconds == 12345
    assert ProgressReport.parse_cut(text) == report
