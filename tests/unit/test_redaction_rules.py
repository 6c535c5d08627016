"""What is taken out of text, and what is left alone."""

from __future__ import annotations

import pytest

from batch_inference_runner import redaction
from batch_inference_runner.redaction import public_uri, redact, register_secret

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://user:pass@bucket/key", "s3://***@bucket/key"),
        ("https://me@host:8443/x?y=1", "https://***@host:8443/x?y=1"),
        ("https://a:p@ss@host/", "https://***@host/"),
        (
            "GET /k?X-Amz-Signature=abc&X-Amz-Date=1 ok",
            "GET /k?X-Amz-Signature=***&X-Amz-Date=*** ok",
        ),
        ("https://x/b?sv=2020&sig=a%2Fb%3D&comp=list", "https://x/b?sv=***&sig=***&comp=list"),
        ("https://x/b?page=2&token=t0k", "https://x/b?page=2&token=***"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("{'authorization': 'Basic dTpw'}", "{'authorization': '***'}"),
        ("sent bearer abcdefgh12345", "sent bearer ***"),
        ("AWS_SECRET_ACCESS_KEY=" + SECRET, "AWS_SECRET_ACCESS_KEY=***"),
        ('{"aws_secret_access_key": "' + SECRET + '"}', '{"aws_secret_access_key": "***"}'),
        ("AccountKey=abc==;EndpointSuffix=x", "AccountKey=***;EndpointSuffix=x"),
        ("password: hunter2, user: me", "password: ***, user: me"),
        ("key AKIAIOSFODNN7EXAMPLE was denied", "key *** was denied"),
        ("ASIAIOSFODNN7EXAMPLE", "***"),
        ("login with hf_abcdefghijklmnopqrstuvwx", "login with ***"),
        ("sent eyJhbGciOiJSUzI1NiI.eyJpc3MiOiJrdWJl.c2ln", "sent ***"),
        ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----", "***"),
    ],
)
def test_secrets_are_masked(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/a@b/part-0.parquet",
        "column 'token_count' is int64, the model wants float",
        "file:///data/user=me/part-000042-1f3a9c2e.parquet",
        "sha256:" + "0" * 64,
        "row 3 of 'https://host/data.csv?page=2' is broken",
        "input.keyField: there is no column 'id'",
        "spec.workers.volumes[0].secret: must be a mapping, not the text 'my-secret'",
        'MountVolume.SetUp failed for volume "model": secret "s3" not found',
        "couldn't find key AWS_ACCESS_KEY_ID in Secret scoring/s3",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_a_registered_value_is_masked_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_secrets", frozenset())
    monkeypatch.setattr(redaction, "_known", None)
    register_secret("tiny")
    register_secret("  s3cr3t-value\n")
    register_secret("s3cr3t-value-longer")
    assert redact("x s3cr3t-value-longer, (s3cr3t-value) tiny") == "x ***, (***) tiny"


@pytest.mark.parametrize(
    ("uri", "public"),
    [
        ("https://u:pw@h/a.csv", "https://h/a.csv"),
        ("https://h/a.csv?X-Amz-Signature=abc&v=3", "https://h/a.csv"),
        ("https://h?sig=abc/d", "https://h"),
        ("http://u@h/a?sig=abc", "http://h/a"),
        ("s3://me:pw@b/k", "s3://b/k"),
        ("s3://b/k%20=x/part-?.csv", "s3://b/k%20=x/part-?.csv"),
        ("file:///data/a?b#c@d.csv", "file:///data/a?b#c@d.csv"),
    ],
)
def test_a_location_is_named_without_what_opens_it(uri, public):
    assert public_uri(uri) == public
