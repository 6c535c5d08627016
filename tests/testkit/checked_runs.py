"""Runs whose result is held against the promises that every result keeps."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq

from testkit.in_process import bij, run
from testkit.jobs import Ended, Job

NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Result:
    """A finished output, read back file by file."""

    manifest: dict
    rows: list[dict[str, Any]]
    """In the order of the manifest; partition folders are columns of text."""
    rejects: list[dict[str, Any]]

    @property
    def counts(self) -> dict[str, int]:
        return self.manifest["counts"]

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.rows]

    def by(self, key: str, value: str = "score") -> dict[Any, Any]:
        """Values by key; a key that occurs twice is a failure."""
        found = {row[key]: row[value] for row in self.rows}
        assert len(found) == len(self.rows)
        return found

    def rejected(self) -> list[tuple[str, int, str, str]]:
        """File name, row or byte offset, stage and error of every reject, sorted."""
        return sorted(
            (
                record["file"].rpartition("/")[2],
                record["row"] if record["row"] is not None else record["byte_offset"],
                record["stage"],
                record["error"],
            )
            for record in self.rejects
        )


def succeed(job: Job, *arguments: object) -> Result:
    """Run the job, check what every result promises, and read it."""
    ended = run(job, *arguments)
    assert ended.code == 0, ended.stdout + ended.stderr
    return checked(job)


def fail(job: Job, *arguments: object) -> Ended:
    """Run a job that must not succeed; nothing may look like a result."""
    before = (job.output / "_SUCCESS").exists()
    ended = run(job, *arguments)
    assert ended.code != 0, ended.stdout
    assert before or not (job.output / "_SUCCESS").exists()
    return ended


def checked(job: Job) -> Result:
    """Read the output of a run that has succeeded."""
    manifest = job.manifest()
    counts = manifest["counts"]
    assert counts["read"] == counts["written"] + counts["rejected"] + counts["filtered"]
    listed = [job.output / file["path"] for file in manifest["files"]]
    assert sorted(listed) == sorted(_globbed(job.output)), "a glob sees other files"
    found = [read_file(file) for file in listed]
    assert [len(rows) for rows in found] == [file["rows"] for file in manifest["files"]]
    folders = [_partition_values(file.relative_to(job.output)) for file in listed]
    rows = [{**row, **folder} for rows, folder in zip(found, folders, strict=True) for row in rows]
    assert counts["written"] == len(rows)
    rejects = [
        record for file in manifest["rejects"] for record in read_file(job.output / file["path"])
    ]
    skipped = job.spec.get("errorPolicy", {}).get("onError") == "Skip"
    assert len(rejects) == (0 if skipped else counts["rejected"])
    verified = bij("verify", job.output)
    assert verified.code == 0, verified.stdout + verified.stderr
    return Result(manifest, rows, rejects)


def read_file(path: Path) -> list[dict[str, Any]]:
    """Read one file by its extension, as somebody who knows nothing of the runner."""
    name = path.name
    if ".parquet" in name:
        return pq.ParquetFile(path).read().to_pylist()
    body = path.read_bytes()
    if name.endswith(".gz"):
        body = gzip.decompress(body)
    elif name.endswith(".zst"):
        body = pa.CompressedInputStream(pa.BufferReader(body), "zstd").read()
    if ".jsonl" in name:
        return [json.loads(line) for line in body.splitlines()]
    if ".csv" in name:
        return _csv_rows(body)
    return pa.ipc.open_file(pa.BufferReader(body)).read_all().to_pylist()


def _csv_rows(body: bytes) -> list[dict[str, Any]]:
    options = pv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
    parse = pv.ParseOptions(newlines_in_values=True)
    return pv.read_csv(io.BytesIO(body), parse_options=parse, convert_options=options).to_pylist()


def _globbed(output: Path) -> list[Path]:
    """What a recursive `part-*` glob finds that skips hidden folders, as Spark and Hive do."""
    return [
        file
        for file in output.rglob("part-*")
        if not any(part.startswith(("_", ".")) for part in file.relative_to(output).parts)
    ]


def _partition_values(path: Path) -> dict[str, str | None]:
    pairs = (folder.split("=", 1) for folder in path.parts[:-1])
    return {unquote(key): None if text == NULL_FOLDER else unquote(text) for key, text in pairs}
