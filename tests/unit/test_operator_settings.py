"""Settings come from the environment and from flags, and wrong ones are named."""

from __future__ import annotations

import pytest

from batch_inference_operator.__main__ import EXIT_USAGE, main, read_settings


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
        ("BIO_DEFAULT_MEMORY", "2 GB", "BIO_DEFAULT_MEMORY (--default-memory)"),
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


def test_an_unknown_flag_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--concurency", "3"]) == EXIT_USAGE
    assert "--concurency" in capsys.readouterr().err


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("batch-inference-operator ")
