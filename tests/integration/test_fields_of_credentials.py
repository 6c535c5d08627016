"""Each part of a job has credentials of its own: spec.model.secretRef, input's and output's."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from testkit.in_process import run
from testkit.s3 import BUCKET, S3Server, running_s3, write_credentials
from testkit.small_jobs import linear_job, set_fields, small_table

pytestmark = pytest.mark.s3
ROLES = ("model", "input", "output")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_s3(tmp_path_factory.mktemp("s3")) as running:
        yield running


def remote_job(server: S3Server, folder, prefix: str):
    """A job of which every part lies on the server, without credentials."""
    job = linear_job(folder)
    sink = pa.BufferOutputStream()
    pq.write_table(small_table(), sink)
    store = server.store(prefix)
    store.create("model.onnx", (folder / "model.onnx").read_bytes())
    store.create("input/0.parquet", sink.getvalue().to_pybytes())
    base = f"s3://{BUCKET}/{prefix}"
    return set_fields(
        job,
        {
            "model.storageUri": f"{base}/model.onnx",
            "input.storageUris": [f"{base}/input/"],
            "output.storageUri": f"{base}/output/",
        },
    )


def secrets(server: S3Server, folder, *, wrong: str | None = None, **changed: str) -> list[str]:
    options = []
    for role in ROLES:
        path = write_credentials(folder / "secrets" / role, server.endpoint)
        if role == wrong:
            for name, value in changed.items():
                (path / name).write_text(value)
        options += ["--secret", f"{role}-keys={path}"]
    return options


def test_secret_ref_of_model_input_and_output_are_taken_from_their_folders(server, tmp_path):
    fields = {
        "model.secretRef": {"name": "model-keys"},
        "input.secretRef": {"name": "input-keys"},
        "output.secretRef": {"name": "output-keys"},
    }
    job = set_fields(remote_job(server, tmp_path, "good"), fields)
    ended = run(job, *secrets(server, tmp_path))
    assert ended.code == 0
    assert ended.result["report"]["rows"]["written"] == 10


@pytest.mark.parametrize("role", ROLES)
def test_a_secret_ref_with_the_wrong_keys_is_refused(server, tmp_path, role):
    fields = {f"{part}.secretRef": {"name": f"{part}-keys"} for part in ROLES}
    prefix = f"refused-{role}"
    job = set_fields(remote_job(server, tmp_path, prefix), fields)
    wrong = secrets(server, tmp_path, wrong=role, AWS_SECRET_ACCESS_KEY="not-the-secret-key")
    ended = run(job, *wrong)
    assert ended.code in (65, 70)
    assert ended.message.startswith("AccessDenied: ")
    place = "model.onnx" if role == "model" else f"{role}/"
    assert f"s3://{BUCKET}/{prefix}/{place}" in ended.message
    assert "secretRef" in ended.message
    assert "not-the-secret-key" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("role", ROLES)
def test_a_secret_ref_with_an_endpoint_without_a_scheme_is_refused(server, tmp_path, role):
    fields = {f"{part}.secretRef": {"name": f"{part}-keys"} for part in ROLES}
    job = set_fields(remote_job(server, tmp_path, f"endpoint-of-{role}"), fields)
    ended = run(job, *secrets(server, tmp_path, wrong=role, AWS_ENDPOINT_URL="minio:9000"))
    assert ended.code == 65
    assert ended.message.startswith("InvalidSpec: ")
    assert f"'AWS_ENDPOINT_URL' in '{tmp_path}/secrets/{role}'" in ended.message
    assert ended.result["report"]["rows"]["processed"] == 0
