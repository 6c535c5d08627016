"""What a job asks for and will not get in this cluster."""

from __future__ import annotations

from typing import Any

import pytest

from batch_inference_api.reasons import Reason
from batch_inference_operator.build.allowed import find_forbidden
from batch_inference_operator.observation import Refusal
from batch_inference_operator.settings import Settings
from testkit.operator_jobs import make_job


def found(changes: dict[str, Any], **settings: Any) -> tuple[Refusal, ...]:
    return find_forbidden(make_job(changes), Settings(**settings))


def messages(changes: dict[str, Any], **settings: Any) -> list[str]:
    return [refusal.message for refusal in found(changes, **settings)]


def test_a_job_that_asks_for_nothing_special_is_allowed() -> None:
    assert found({}) == ()


def test_a_refusal_names_the_field_what_would_do_and_whom_to_ask() -> None:
    changes = {"spec.input.storageUris": ["s3://lake/a", "https://user-data.example.com/?sig=s3cr"]}

    assert found(changes) == (
        Refusal(
            reason=Reason.NOT_ALLOWED,
            message="spec.input.storageUris[1]: the scheme 'https' is not allowed here; use one of "
            "file, s3, gs, az, pvc, or ask the platform team to add it to the operator's setting "
            "--allowed-uri-schemes (allowed.uriSchemes in the chart's values)",
        ),
    )


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"spec.model.storageUri": "gs://a/m.onnx"}, "spec.model.storageUri"),
        ({"spec.input.storageUris": ["gs://a/x"]}, "spec.input.storageUris[0]"),
        ({"spec.output.storageUri": "gs://a/out/"}, "spec.output.storageUri"),
    ],
)
def test_every_uri_is_looked_at(changes: dict[str, Any], field: str) -> None:
    (message,) = messages(changes, allowed_uri_schemes=("s3",))

    assert message.startswith(f"{field}: the scheme 'gs' is not allowed here; use one of s3,")


CLAIM = {"name": "v", "persistentVolumeClaim": {"claimName": "results"}}


@pytest.mark.parametrize(
    ("uri", "volume", "is_kept"),
    [
        ("file:///mnt/out/", CLAIM, True),
        ("file:///mnt", CLAIM, True),
        ("file:///mnt/out/", {"name": "v", "emptyDir": {}}, True),
        ("file:///mnt-of-another/", CLAIM, False),
        ("file:///tmp/out/", CLAIM, False),
        ("pvc://results/out/", {"name": "v", "emptyDir": {}}, True),
    ],
)
def test_a_result_that_would_go_with_its_pod_is_refused(
    uri: str, volume: dict[str, Any], is_kept: bool
) -> None:
    workers = {"volumes": [volume], "volumeMounts": [{"name": "v", "mountPath": "/mnt"}]}

    refusals = found({"spec.output.storageUri": uri, "spec.workers": workers})

    assert bool(refusals) is not is_kept
    assert all(refusal.message.startswith("spec.output.storageUri: ") for refusal in refusals)


def test_a_plain_path_is_no_matter_for_the_platform_team() -> None:
    (refusal,) = found({"spec.model.storageUri": "model.onnx"})

    assert refusal.reason is Reason.INVALID_SPEC
    assert refusal.message.startswith("spec.model.storageUri: must be a URI")


@pytest.mark.parametrize(
    ("image", "allowed", "is_allowed"),
    [
        pytest.param("r.io/runner:1", (), True, id="the runner's own image"),
        pytest.param("r.io/other:1", (), False, id="no other unless it is listed"),
        pytest.param("r.io/other:1", ("r.io/other:1",), True, id="one that is listed"),
        pytest.param("r.io/ml/x@sha256:1", ("r.io/ml/*",), True, id="one that a pattern allows"),
        pytest.param("r.io/mlx/x", ("r.io/ml/*",), False, id="not one that only begins alike"),
        pytest.param("evil.io/r.io/ml/x", ("r.io/ml/*",), False, id="patterns begin at the start"),
        pytest.param("r.io/ml/x:12", ("*:1",), False, id="and end at the end"),
        pytest.param("rXio/ml", ("r.io/ml",), False, id="a dot is a dot"),
        pytest.param("r.io/ml/ax", ("r.io/ml/[ab]*",), False, id="only the star is special"),
    ],
)
def test_images_are_allowed_by_pattern(
    image: str, allowed: tuple[str, ...], *, is_allowed: bool
) -> None:
    refusals = messages(
        {"spec.workers.image": image}, runner_image="r.io/runner:1", allowed_images=allowed
    )

    assert (refusals == []) is is_allowed


def test_without_other_images_the_field_is_to_be_left_out() -> None:
    (message,) = messages({"spec.workers.image": "x"})

    assert message == (
        "spec.workers.image: the image 'x' is not allowed here; leave the field out, or ask the "
        "platform team to add it to the operator's setting --allowed-images (allowed.images in the "
        "chart's values)"
    )


@pytest.mark.parametrize(
    ("name", "allowed", "is_allowed"),
    [
        pytest.param("default", (), True, id="pods run as default in any case"),
        pytest.param("scorer", (), False, id="any other must be listed"),
        pytest.param("scorer-a", ("scorer-*",), True, id="a pattern will do"),
    ],
)
def test_service_accounts_are_allowed_by_pattern(
    name: str, allowed: tuple[str, ...], *, is_allowed: bool
) -> None:
    refusals = messages({"spec.workers.serviceAccountName": name}, allowed_service_accounts=allowed)

    assert (refusals == []) is is_allowed


def test_everything_that_is_wrong_is_said_at_once() -> None:
    refusals = messages(
        {
            "spec.model.storageUri": "https://example.com/m.onnx",
            "spec.workers.image": "x",
            "spec.workers.serviceAccountName": "admin",
        }
    )

    assert [message.partition(":")[0] for message in refusals] == [
        "spec.model.storageUri",
        "spec.workers.image",
        "spec.workers.serviceAccountName",
    ]


def test_no_refusal_repeats_a_uri() -> None:
    text = " ".join(messages({"spec.model.storageUri": "https://example.com/m?sig=s3cr3t"}))

    assert "example.com" not in text
    assert "s3cr3t" not in text


def test_a_job_too_large_for_its_secret_is_refused_before_its_job_exists() -> None:
    columns = [f"{number:04}" + "c" * 250 for number in range(4096)]

    (refusal,) = found({"spec.model.inputs": [{"name": "features", "columns": columns}]})

    assert refusal.reason is Reason.INVALID_SPEC
    assert refusal.message.startswith("spec: is too large for the Secret")
