"""What the API server answers becomes an error that says what to do."""

from __future__ import annotations

import json

import pytest

from batch_inference_operator.cluster.api import (
    AlreadyExists,
    ClusterError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Unadmitted,
    Unreachable,
)
from batch_inference_operator.cluster.refusals import Expired, refusal_of
from batch_inference_operator.cluster.resources import RESOURCES


def refuse(
    code: int,
    *,
    reason: str = "",
    message: str = "",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    details: object = None,
    is_create: bool = False,
) -> ClusterError:
    status = {"kind": "Status", "reason": reason, "message": message, "details": details}
    sent = json.dumps(status).encode() if body is None else body
    return refusal_of(code, sent, headers or {}, is_create=is_create)


@pytest.mark.parametrize(
    ("code", "reason", "is_create", "expected"),
    [
        pytest.param(409, "AlreadyExists", True, AlreadyExists, id="the name is taken"),
        pytest.param(409, "Conflict", True, Conflict, id="the quota changed meanwhile"),
        pytest.param(409, "", True, AlreadyExists, id="a conflict of a create without a reason"),
        pytest.param(409, "Conflict", False, Conflict, id="a stale version"),
        pytest.param(409, "", False, Conflict, id="a conflict of a patch without a reason"),
        pytest.param(403, "Forbidden", True, Forbidden, id="quota, policy, or a lack of rights"),
        pytest.param(404, "NotFound", False, NotFound, id="gone"),
        pytest.param(410, "Expired", False, Expired, id="a list's next page is gone"),
        pytest.param(422, "Invalid", True, Invalid, id="against the schema"),
        pytest.param(400, "BadRequest", True, Invalid, id="not understood"),
        pytest.param(401, "Unauthorized", False, Unreachable, id="a token that was rotated"),
        pytest.param(429, "TooManyRequests", False, Unreachable, id="slow down"),
        pytest.param(500, "InternalError", False, Unreachable, id="a server that fails"),
        pytest.param(504, "Timeout", False, Unreachable, id="too slow"),
        pytest.param(302, "", False, Unreachable, id="a login page in front of it"),
    ],
)
def test_an_answer_is_the_error(
    code: int, reason: str, is_create: bool, expected: type[ClusterError]
) -> None:
    assert type(refuse(code, reason=reason, is_create=is_create)) is expected


WEBHOOK_AWAY = (
    'Internal error occurred: failed calling webhook "mjob.kb.io": failed to call webhook: Post '
    '"https://kueue.kueue-system.svc:443/mutate?timeout=10s": service "kueue" not found'
)


def test_a_webhook_that_gives_no_answer_is_no_fault_of_the_server() -> None:
    error = refuse(500, reason="InternalError", message=WEBHOOK_AWAY)
    assert type(error) is Unadmitted
    assert str(error) == WEBHOOK_AWAY


DENIALS = {
    "a ValidatingAdmissionPolicy": (
        422,
        "Invalid",
        "jobs.batch \"j\" is forbidden: ValidatingAdmissionPolicy 'x' denied request: no label",
    ),
    "a webhook that says no code": (
        400,
        "BadRequest",
        'admission webhook "validate.kyverno.svc-fail" denied the request: no label team',
    ),
    "a webhook that chooses a code of the server's own": (
        500,
        "InternalError",
        'admission webhook "validate.example.com" denied the request: not today',
    ),
    "a webhook that says nothing": (
        400,
        "",
        'admission webhook "quiet.example.com" denied the request without explanation',
    ),
}


@pytest.mark.parametrize(("code", "reason", "message"), DENIALS.values(), ids=DENIALS)
def test_a_policy_that_denies_an_object_has_not_found_it_invalid(
    code: int, reason: str, message: str
) -> None:
    error = refuse(code, reason=reason, message=message, is_create=True)
    assert type(error) is Forbidden
    assert str(error) == message


def test_a_field_that_is_forbidden_is_invalid() -> None:
    message = 'Job.batch "a" is invalid: spec.completions: Forbidden: may not be changed'
    assert type(refuse(422, reason="Invalid", message=message)) is Invalid


def test_the_message_is_the_servers() -> None:
    message = 'pods "a" is forbidden: exceeded quota: compute'
    assert str(refuse(403, message=message)) == message


def test_an_endless_message_is_cut() -> None:
    assert len(str(refuse(403, message="x" * 100_000))) == 2000


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b"[]", b"\xff\xfe"])
def test_an_answer_that_is_no_status_is_told_by_its_code(body: bytes) -> None:
    error = refuse(503, body=body)
    assert isinstance(error, Unreachable)
    assert str(error) == "the API server answered 503 Service Unavailable to a call"


@pytest.mark.parametrize(
    ("headers", "details", "seconds"),
    [
        pytest.param({"Retry-After": "7"}, None, 7, id="header"),
        pytest.param({}, {"retryAfterSeconds": 3}, 3, id="details"),
        pytest.param({"Retry-After": "7"}, {"retryAfterSeconds": 3}, 7, id="the header wins"),
        pytest.param({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, None, None, id="a date"),
        pytest.param({"Retry-After": "86400"}, None, 300, id="a day"),
        pytest.param({"Retry-After": "inf"}, None, None, id="for ever"),
        pytest.param({}, None, None, id="nothing"),
    ],
)
def test_the_server_says_when_to_come_back(
    headers: dict[str, str], details: object, seconds: float | None
) -> None:
    assert refuse(429, headers=headers, details=details).retry_after_seconds == seconds


@pytest.mark.parametrize(
    ("kind", "namespace", "name", "part", "path"),
    [
        ("Pod", None, None, "", "/api/v1/pods"),
        ("Pod", "team", None, "", "/api/v1/namespaces/team/pods"),
        ("Job", "team", "a", "", "/apis/batch/v1/namespaces/team/jobs/a"),
        (
            "BatchInferenceJob",
            "team",
            "a",
            "status",
            "/apis/batchinference.dev/v1alpha1/namespaces/team/batchinferencejobs/a/status",
        ),
        ("Job", "team", "../secrets", "", "/apis/batch/v1/namespaces/team/jobs/..%2Fsecrets"),
    ],
)
def test_paths(kind: str, namespace: str | None, name: str | None, part: str, path: str) -> None:
    assert RESOURCES[kind].path(namespace, name, part=part) == path
