"""Settings come from the environment and from flags, and wrong ones are named."""

from __future__ import annotations

import pytest

from batch_inference_operator.command import EXIT_USAGE, main, read_settings


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("BIO_")]:
        monkeypatch.delenv(name)


def test_defaults() -> None:
    settings = read_settings([])
    assert settings.watch_namespaces == ()
    assert settings.leader_election


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIO_WATCH_NAMESPACES", "team-a, team-b,")
    monkeypatch.setenv("BIO_CONCURRENCY", "3")
    monkeypatch.setenv("BIO_LEADER_ELECTION", "false")
    settings = read_settings([])
    assert settings.watch_namespaces == ("team-a", "team-b")
    assert settings.concurrency == 3
    assert not settings.leader_election


def test_flags_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIO_CONCURRENCY", "3")
    words = ["--concurrency", "4", "--watch-namespaces=a,b", "--no-leader-election"]
    settings = read_settings(words)
    assert settings.concurrency == 4
    assert settings.watch_namespaces == ("a", "b")
    assert not settings.leader_election


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("BIO_CONCURRENCY", "0", "BIO_CONCURRENCY (--concurrency): Input should be greater"),
        ("BIO_LOG_LEVEL", "loud", "BIO_LOG_LEVEL (--log-level): Input should be 'debug'"),
        ("BIO_ALLOWED_URI_SCHEMES", "s3,ftp", "BIO_ALLOWED_URI_SCHEMES (--allowed-uri-schemes)"),
        ("BIO_ALLOWED_URI_SCHEMES", "", "name at least one of file, "),
        ("BIO_DEFAULT_MEMORY", "2 GB", "BIO_DEFAULT_MEMORY (--default-memory)"),
        ("BIO_DEFAULT_MEMORY", "512m", "(--default-memory): Value error, must be at least 1Mi"),
        ("BIO_DEFAULT_MEMORY", "0Gi", "(--default-memory): Value error, must be at least 1Mi"),
        ("BIO_NAMESPACE", "", "BIO_NAMESPACE (--namespace): Value error, '': write a name"),
        ("BIO_WATCH_NAMESPACES", "a,team-*", "(--watch-namespaces): Value error, 'team-*': write"),
        ("BIO_WATCH_NAMESPACES", "Bad Name", "(--watch-namespaces): Value error, 'Bad Name': wri"),
        ("BIO_WATCH_NAMESPACES", "a" * 64, "(--watch-namespaces): Value error, 'aaa"),
        ("BIO_MONITORING_NAMESPACES", "Mon !", "(--monitoring-namespaces): Value error, 'Mon !'"),
        ("BIO_RUNNER_IMAGE", "", "BIO_RUNNER_IMAGE (--runner-image): Value error, '': write an"),
        ("BIO_RUNNER_IMAGE", "r.io/run ner:1", "(--runner-image): Value error, 'r.io/run ner:1'"),
        (
            "BIO_RUNNER_IMAGE_PULL_SECRETS",
            "a,B c",
            "(--runner-image-pull-secrets): Value error, 'B",
        ),
        ("BIO_LEASE_NAME", "A b", "BIO_LEASE_NAME (--lease-name): Value error, 'A b': write a n"),
        ("BIO_LEASE_NAME", "", "BIO_LEASE_NAME (--lease-name): Value error, '': write a name"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_starts(
    name: str,
    value: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(name, value)
    assert main([]) == EXIT_USAGE
    output = capsys.readouterr()
    assert said in output.err
    assert "Traceback" not in output.err
    assert output.out == ""


def test_names_may_be_as_kubernetes_lets_them_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIO_WATCH_NAMESPACES", "a,0-b," + "c" * 63)
    monkeypatch.setenv("BIO_LEASE_NAME", "bio.of-team.a")
    monkeypatch.setenv("BIO_RUNNER_IMAGE", "localhost:5000/runner@sha256:0a")
    monkeypatch.setenv("BIO_RUNNER_IMAGE_PULL_SECRETS", "registry, registry.of-team.a")
    settings = read_settings([])
    assert settings.watch_namespaces == ("a", "0-b", "c" * 63)
    assert settings.lease_name == "bio.of-team.a"
    assert settings.runner_image == "localhost:5000/runner@sha256:0a"
    assert settings.runner_image_pull_secrets == ("registry", "registry.of-team.a")


def test_an_unknown_flag_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--concurency", "3"]) == EXIT_USAGE
    assert "--concurency" in capsys.readouterr().err


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("batch-inference-operator ")
