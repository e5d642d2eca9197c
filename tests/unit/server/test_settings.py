from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr

from schoolgate_server.settings import Settings, SettingsInvalid, VaultSettings, load_settings
from schoolgate_server.vault_key import KEY_BYTES, VaultKeyInvalid, local_key

KEY = bytes(range(KEY_BYTES))


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SCHOOLGATE_")]:
        monkeypatch.delenv(name)


def test_defaults_are_for_this_machine_alone() -> None:
    settings = load_settings()
    assert settings.listen.address == "127.0.0.1"
    assert settings.mongo.uri is None
    assert settings.connectors == ("bromcom",)


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "schoolgate.toml"
    config.write_text(
        'connectors = ["a", "b"]\n[listen]\nport = 1\naddress = "::1"\n[vault]\nkey_file = "k"\n'
    )
    monkeypatch.setenv("SCHOOLGATE_LISTEN__PORT", "2")
    monkeypatch.setenv("SCHOOLGATE_CONFIG", str(config))
    settings = load_settings()
    assert (settings.listen.port, settings.listen.address) == (2, "::1")
    assert settings.connectors == ("a", "b")
    assert settings.vault.key_file == Path("k")
    assert load_settings(overrides={"listen": {"port": 3}}).listen.port == 3


def test_connectors_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHOOLGATE_CONNECTORS", "bromcom, acme,")
    assert load_settings().connectors == ("bromcom", "acme")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LISTEN__PORT", "x", "listen.port"),
        ("LISTEN__PORT", "70000", "listen.port"),
        ("LISTEN__COLOUR", "red", "listen.colour"),
        ("LISTEN__TLS_KEY", "k.pem", "tls_certificate and tls_key belong together"),
        ("LOG__LEVEL", "LOUD", "log.level"),
        ("WRITEBACK__ENVIRONMENT", "Production!", "writeback.environment"),
        ("WRITEBACK__SETTLE_S", "0", "writeback.settle_s"),
        ("SYNC__HOLD_DELETIONS_FRACTION", "2", "sync.hold_deletions_fraction"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(f"SCHOOLGATE_{name}", value)
    with pytest.raises(SettingsInvalid, match=said):
        load_settings()


@pytest.mark.parametrize("text", ["[listen", "[[listen]]", "colour = 1", "[listen]\nport = 'x'"])
def test_an_unusable_file_is_refused(tmp_path: Path, text: str) -> None:
    config = tmp_path / "schoolgate.toml"
    config.write_text(text)
    with pytest.raises(SettingsInvalid):
        load_settings(config)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="no such file"):
        load_settings(tmp_path / "none.toml")


def test_g16_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHOOLGATE_MONGO__URI", "mongodb://user:hunter2@db")
    monkeypatch.setenv("SCHOOLGATE_VAULT__KEY", "hunter2")
    assert "hunter2" not in repr(load_settings())
    monkeypatch.setenv("SCHOOLGATE_VAULT__KMS_CREDENTIALS", '{"secret": ["hunter2"]}')
    with pytest.raises(SettingsInvalid) as refusal:
        load_settings()
    assert "hunter2" not in str(refusal.value)


def test_every_setting_says_what_it_is() -> None:
    def check(model: type[BaseModel], path: str) -> None:
        for name, field in model.model_fields.items():
            group = field.annotation
            if isinstance(group, type) and issubclass(group, BaseModel):
                check(group, f"{path}{name}.")
            else:
                assert field.description, f"{path}{name}"

    check(Settings, "")


def never(count: int) -> bytes:
    raise AssertionError("no key was to be made")


@pytest.mark.parametrize("content", [KEY, base64.b64encode(KEY), base64.b64encode(KEY) + b"\n"])
def test_a_key_file_is_raw_or_base64(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "vault.key"
    path.write_bytes(content)
    assert local_key(VaultSettings(key_file=path), None, never) == KEY


def test_a_key_may_stand_in_the_environment() -> None:
    settings = VaultSettings(key=SecretStr(base64.b64encode(KEY).decode()))
    assert local_key(settings, None, never) == KEY


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "vault.key"
    assert local_key(VaultSettings(), path, lambda count: KEY[:count]) == KEY
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert local_key(VaultSettings(), path, never) == KEY


def test_without_a_key_the_error_says_how_to_make_one() -> None:
    with pytest.raises(VaultKeyInvalid, match="head -c 96 /dev/urandom"):
        local_key(VaultSettings(), None, never)


@pytest.mark.parametrize("content", [b"", KEY[:-1], b"hunter2" * 20])
def test_a_malformed_key_is_refused_and_not_quoted(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "vault.key"
    path.write_bytes(content)
    with pytest.raises(VaultKeyInvalid) as refusal:
        local_key(VaultSettings(key_file=path), None, never)
    assert "hunter2" not in str(refusal.value)
    with pytest.raises(VaultKeyInvalid, match="cannot be read"):
        local_key(VaultSettings(key_file=tmp_path / "none"), None, never)


@pytest.mark.parametrize(
    "wrong",
    [
        {"key_file": Path("k"), "key": SecretStr("k")},
        {"provider": "aws", "key_file": Path("k")},
        {"provider": "vault"},
    ],
)
def test_one_key_from_one_place(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        VaultSettings(**wrong)  # type: ignore[arg-type]
