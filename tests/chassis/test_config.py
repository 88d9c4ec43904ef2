"""Settings: what is missing, misspelt or malformed is said before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic_settings import SettingsConfigDict

from chassis.config import ServiceConfig, load, read_token


class _ToyConfig(ServiceConfig):
    model_config = SettingsConfigDict(env_prefix="TOY_", frozen=True)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.setenv("TOY_LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("TOY_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TOY_IDENTITIES_FILE", str(tmp_path / "identities.json"))
    monkeypatch.setenv("TOY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("TOY_TLS", "off")
    monkeypatch.setattr("sys.argv", ["toy"])
    return monkeypatch


def test_settings_come_from_the_environment(environment: pytest.MonkeyPatch) -> None:
    assert load(_ToyConfig).listen == "127.0.0.1:0"


def test_a_misspelt_setting_stops_the_start(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("TOY_LISTN", "127.0.0.1:1")

    with pytest.raises(SystemExit) as exit_:
        load(_ToyConfig)
    assert exit_.value.code == 2
    assert "TOY_LISTN: no such setting; known are TOY_CA_FILE" in capsys.readouterr().err


def test_a_missing_setting_is_named(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.delenv("TOY_LISTEN")

    with pytest.raises(SystemExit):
        load(_ToyConfig)
    assert "TOY_LISTEN" in capsys.readouterr().err


def test_check_ends_without_starting(environment: pytest.MonkeyPatch) -> None:
    environment.setattr("sys.argv", ["toy", "--check"])

    with pytest.raises(SystemExit) as exit_:
        load(_ToyConfig)
    assert exit_.value.code == 0


def test_a_token_is_read_without_its_line_end(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("abc\n")

    assert read_token(load(_ToyConfig)) == "abc"


TLS = {
    "TOY_PEER_LISTEN": "127.0.0.1:0",
    "TOY_CA_FILE": "ca.pem",
    "TOY_PLATFORM_SOCKET": "platformd.sock",
    "TOY_ISSUER_ADDRESS": "127.0.0.1:1",
    "TOY_ISSUER_PEER_ADDRESS": "127.0.0.1:2",
}


def test_tls_is_on_unless_somebody_turns_it_off(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("TOY_TLS")
    for name, value in TLS.items():
        environment.setenv(name, value)

    assert load(_ToyConfig).tls == "on"


@pytest.mark.parametrize("missing", TLS)
def test_what_tls_needs_is_named(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    environment.delenv("TOY_TLS")
    for name in TLS.keys() - {missing}:
        environment.setenv(name, TLS[name])

    with pytest.raises(SystemExit):
        load(_ToyConfig)
    assert missing.removeprefix("TOY_") in capsys.readouterr().err


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "[::]", "10.0.0.1", "example.org", "127.0.0.1.example"]
)
def test_without_tls_only_this_machine_may_listen(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    environment.setenv("TOY_LISTEN", f"{host}:7401")

    with pytest.raises(SystemExit) as exit_:
        load(_ToyConfig)
    assert exit_.value.code == 2
    assert "loopback" in capsys.readouterr().err
