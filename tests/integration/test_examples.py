"""Every example, run by the commands of its README, against scores from plain ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from obstore.store import S3Store

from testkit.checkout import ROOT
from testkit.example_copy import ExampleCopy, copy_example
from testkit.readme_commands import sh_blocks
from testkit.s3 import running_s3

TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}


def session_of(folder: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        folder / "model" / "model.onnx", providers=["CPUExecutionProvider"]
    )


def score(folder: Path, feeds: Mapping[str, np.ndarray], *outputs: str) -> list[np.ndarray]:
    """Score in batches of 1,000 rows, with nothing of ours in between."""
    session = session_of(folder)
    rows = len(next(iter(feeds.values())))
    batches = [
        session.run(outputs, {name: values[at : at + 1000] for name, values in feeds.items()})
        for at in range(0, rows, 1000)
    ]
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def float_columns(rows: Iterable[Mapping[str, Any]], names: Iterable[str]) -> dict[str, np.ndarray]:
    rows = list(rows)
    return {name: np.array([[float(row[name])] for row in rows], np.float32) for name in names}


def published(folder: Path, file_format: str) -> pa.Table:
    """Read the output as a stranger would: a dataset without what begins with an underscore."""
    return pyarrow.dataset.dataset(
        folder / "output",
        format=file_format,
        partitioning="hive",
        exclude_invalid_files=False,
        ignore_prefixes=["_"],
    ).to_table()


def by_key(table: pa.Table, key: str) -> pa.Table:
    table = table.sort_by(key)
    keys = table[key].to_pylist()
    assert len(keys) == len(set(keys)), "a key is there twice"
    return table


@dataclass(frozen=True)
class Shown:
    """A copy of an example whose README's commands were run, and what they printed."""

    copy: ExampleCopy
    printed: str

    @property
    def folder(self) -> Path:
        return self.copy.folder


@pytest.fixture(scope="module")
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    copy = copy_example(request.param, tmp_path_factory.mktemp("example"))
    return Shown(copy, copy.run_readme())


def on(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("example", names, indirect=True)


def test_the_first_commands_of_the_readme_work_as_typed(tmp_path: Path) -> None:
    """`make venv` is what this test runs in already, so it does nothing here."""
    (block,) = (block for block in sh_blocks(ROOT / "README.md") if "bij run" in block)
    example = copy_example("01-linear-csv", tmp_path / "examples")
    (tmp_path / "Makefile").write_text("venv: ;\n")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").touch()

    printed = ExampleCopy(tmp_path, example.environment).sh(block)

    assert (example.folder / "output" / "_SUCCESS").exists()
    assert "is exactly what its manifest says" in printed


@on("01-linear-csv")
def test_the_linear_example_scores_like_plain_onnxruntime(example: Shown) -> None:
    given = pyarrow.csv.read_csv(example.folder / "data" / "patients.csv").sort_by("patient_id")
    names = [name for name in given.column_names if name not in ("patient_id", "diagnosis")]
    (expected,) = score(example.folder, float_columns(given.to_pylist(), names), "probabilities")

    result = by_key(published(example.folder, "csv"), "patient_id")

    assert result["patient_id"].to_pylist() == given["patient_id"].to_pylist()
    assert result["diagnosis"].to_pylist() == given["diagnosis"].to_pylist()
    np.testing.assert_allclose(result["p_malignant"].to_numpy(), expected[:, 1], **TOLERANCE)
    labels = ["malignant" if p >= 0.5 else "benign" for p in expected[:, 1]]
    assert result["label"].to_pylist() == labels
    right = sum(a == b for a, b in zip(labels, given["diagnosis"].to_pylist(), strict=True))
    assert right / given.num_rows > 0.9, "the model of the example is worth showing"
    assert "patient_id,diagnosis,p_malignant,label" in example.printed.replace('"', "")


@on("02-trees-parquet")
def test_the_tree_example_scores_like_plain_onnxruntime(example: Shown) -> None:
    given = pyarrow.dataset.dataset(example.folder / "data", partitioning="hive").to_table()
    given = given.sort_by("wine_id")
    features = [n for n in given.column_names if n not in ("wine_id", "declared", "year")]
    matrix = np.column_stack([given[name].to_numpy() for name in features])
    labels, probabilities = score(example.folder, {"features": matrix}, "label", "probabilities")
    barolo = sorted(set(labels)).index("Barolo")

    result = by_key(published(example.folder, "parquet"), "wine_id")

    assert result["wine_id"].to_pylist() == given["wine_id"].to_pylist()
    assert result["declared"].to_pylist() == given["declared"].to_pylist()
    assert result["cultivar"].to_pylist() == list(labels)
    assert [str(y) for y in result["year"].to_pylist()] == [
        str(y) for y in given["year"].to_pylist()
    ]
    np.testing.assert_allclose(result["p_barolo"].to_numpy(), probabilities[:, barolo], **TOLERANCE)
    verdicts = set(result["verdict"].to_pylist())
    assert verdicts == {"as declared", "check the bottle"}


@on("03-neural-network-matrix")
def test_the_neural_network_example_scores_like_plain_onnxruntime(example: Shown) -> None:
    given = pq.read_table(example.folder / "data" / "digits.parquet").sort_by("image_id")
    pixels = np.array(given["pixels"].to_pylist(), np.float32)
    digits, probabilities = score(example.folder, {"pixels": pixels}, "label", "probabilities")

    result = by_key(published(example.folder, "parquet"), "image_id")

    assert result["image_id"].to_pylist() == given["image_id"].to_pylist()
    assert result["digit"].to_pylist() == digits.tolist()
    np.testing.assert_allclose(
        np.array(result["probabilities"].to_pylist()), probabilities, **TOLERANCE
    )
    np.testing.assert_allclose(
        result["confidence"].to_numpy(), probabilities.max(axis=1), **TOLERANCE
    )
    right = np.mean(np.array(result["digit"].to_pylist()) == np.array(given["written"]))
    assert right > 0.9, "the model of the example is worth showing"


def readable_patients(lines: Iterable[str], floats: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the patients that can be scored, decided by nothing but Python's own conversions."""
    patients = {}
    for line in lines:
        try:
            row = json.loads(line)
            patients[row["patient_id"]] = {name: float(row[name]) for name in floats}
        except (ValueError, TypeError):
            continue
    return patients


@on("04-rejects")
def test_the_reject_example_rejects_the_broken_rows_and_only_them(example: Shown) -> None:
    printed = example.printed
    session = session_of(example.folder)
    names = [argument.name for argument in session.get_inputs()]
    lines = (example.folder / "data" / "patients.jsonl").read_text(encoding="utf-8").splitlines()
    patients = readable_patients(lines, names)
    feeds = float_columns(patients.values(), names)
    (expected,) = score(example.folder, feeds, "variable")

    result = by_key(published(example.folder, "json"), "patient_id")

    assert len(lines) == 5000
    assert result["patient_id"].to_pylist() == sorted(patients)
    order = np.argsort(list(patients))
    np.testing.assert_allclose(
        result["progression"].to_numpy(), expected[order, 0], rtol=1e-5, atol=1e-4
    )
    rejects = pq.read_table(example.folder / "output" / "_rejects")
    assert rejects.num_rows == len(lines) - len(patients) == 20
    assert printed.count("patients.jsonl") >= 20, "the README's command prints every reject"


@pytest.fixture
def s3_environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A server with the example's bucket, as the environment variables that lead to it."""
    with running_s3(tmp_path / "s3") as server:
        (server.root / "data" / "bij-example").mkdir()
        files = sorted(server.credentials_dir.iterdir())
        yield {file.name: file.read_text(encoding="utf-8").strip() for file in files}


def bucket_tables(environment: dict[str, str], prefix: str) -> list[pa.Table]:
    """Read what a plain glob of `part-*` below a prefix finds."""
    store = S3Store("bij-example", config=environment, client_options={"allow_http": True})
    paths = sorted(item["path"] for page in store.list(prefix) for item in page)
    return [
        pq.read_table(pa.BufferReader(bytes(store.get(path).bytes())))
        for path in paths
        if path.removeprefix(prefix).startswith("part-")
    ]


@pytest.mark.s3
def test_the_s3_example_scores_like_plain_onnxruntime(
    s3_environment: dict[str, str], tmp_path: Path
) -> None:
    example = copy_example("05-s3", tmp_path, **s3_environment)
    example.run_readme()
    scores = bucket_tables(s3_environment, "linear/scores/")

    given = pa.ipc.open_file(example.folder / "data" / "patients.arrow").read_all()
    features = [name for name in given.column_names if name != "patient_id"]
    matrix = np.column_stack([given[name].to_numpy() for name in features]).astype(np.float32)
    (expected,) = score(example.folder, {"features": matrix}, "variable")
    result = by_key(pa.concat_tables(scores), "patient_id")
    assert len(scores) == 5, "50,000 rows at 10,000 a shard"
    assert result["patient_id"].to_pylist() == given["patient_id"].to_pylist()
    np.testing.assert_allclose(
        result["progression"].to_numpy(), expected[:, 0], rtol=1e-5, atol=1e-4
    )


@on("06-volume")
def test_the_volume_example_scores_like_plain_onnxruntime(example: Shown) -> None:
    volume = ExampleCopy(example.folder / "scoring", example.copy.environment)
    given = pq.read_table(volume.folder / "data" / "samples.parquet")
    matrix = np.stack(given["features"].to_numpy())
    (expected,) = score(volume.folder, {"features": matrix}, "probabilities")
    result = by_key(published(volume.folder, "parquet"), "sample_id")
    assert result["sample_id"].to_pylist() == given["sample_id"].to_pylist()
    np.testing.assert_allclose(result["p_benign"].to_numpy(), expected[:, 1], **TOLERANCE)
    assert set(result["label"].to_pylist()) == {"benign", "malignant"}


@pytest.mark.s3
def test_credentials_of_the_s3_example_may_come_from_a_folder(
    s3_environment: dict[str, str], tmp_path: Path
) -> None:
    example = copy_example("05-s3", tmp_path, **s3_environment)
    example.sh("python prepare.py")
    (example.folder / "secret").mkdir()
    for key, value in s3_environment.items():
        (example.folder / "secret" / key).write_text(value, encoding="utf-8")
    bare = {key: value for key, value in example.environment.items() if key not in s3_environment}

    ExampleCopy(example.folder, bare).sh("bij run job.yaml --secret object-store=secret")

    tables = bucket_tables(s3_environment, "linear/scores/")
    assert sum(table.num_rows for table in tables) == 50_000


def published_files(folder: Path) -> dict[Path, int]:
    """Return when each file was written, but for what the protocol keeps for itself."""
    files = (path for path in (folder / "output").rglob("*") if path.is_file())
    return {path: path.stat().st_mtime_ns for path in files if "_bij" not in path.parts}


@on("02-trees-parquet", "04-rejects")
def test_running_an_example_twice_does_nothing_the_second_time(example: Shown) -> None:
    before = published_files(example.folder)

    printed = example.copy.sh("bij run job.yaml")

    assert published_files(example.folder) == before
    assert "complete" in printed


def test_the_demonstration_survives_its_own_kill_and_is_exact(tmp_path: Path) -> None:
    example = copy_example("02-trees-parquet", tmp_path)
    demo = Path(__file__).parents[2] / "examples" / "demo.py"

    printed = example.sh(f"python {demo} --rows 1500000 --folder {tmp_path / 'demo'}")

    assert "Every one of 1,500,000 wines is there exactly once." in printed
