"""Files of the embedded server's folder that a crash, a full disk or an editor has spoilt."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from schoolgate_server.store.embedded_folder import EmbeddedFolder
from schoolgate_server.store.errors import EmbeddedError


@pytest.fixture
def folder(tmp_path: Path) -> EmbeddedFolder:
    prepared = EmbeddedFolder(tmp_path / "mongod")
    prepared.prepare()
    return prepared


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"99999", b"0", b"-5", b"9" * 5000, b"\xff\xfe", "²".encode()]
)
def test_a_port_that_is_none_is_replaced(folder: EmbeddedFolder, content: bytes) -> None:
    file = folder.path / "port"
    file.write_bytes(content)
    port = folder.choose_port()
    assert 0 < port < 65536
    assert file.read_text() == f"{port}\n"
    assert folder.choose_port() == port
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_port_file_that_cannot_be_written_is_named(folder: EmbeddedFolder) -> None:
    (folder.path / "port").mkdir()
    with pytest.raises(EmbeddedError, match="/port cannot be written"):
        folder.choose_port()


@pytest.mark.parametrize("content", [b"", b"abc\n", b"a b", b"a@b", b"\xff\xfe"])
def test_a_damaged_password_is_named_with_what_to_do(folder: EmbeddedFolder, content: bytes) -> None:
    (folder.path / "password").write_bytes(content)
    with pytest.raises(EmbeddedError, match=r"/password is damaged: .* put it back, or remove the folder"):
        folder.prepare()


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff" * 100])
def test_a_damaged_key_file_is_named_with_what_to_do(folder: EmbeddedFolder, content: bytes) -> None:
    folder.key_file.write_bytes(content)
    with pytest.raises(EmbeddedError, match="/keyfile is damaged; remove it"):
        folder.prepare()
    folder.key_file.unlink()
    folder.prepare()


def test_secrets_stay_and_nothing_half_written_is_left(folder: EmbeddedFolder) -> None:
    assert folder.prepare() == folder.prepare()
    assert {path.name for path in folder.path.iterdir()} == {"db", "keyfile", "password"}
    for name in ("keyfile", "password"):
        assert stat.S_IMODE((folder.path / name).stat().st_mode) == 0o600


def test_a_crash_while_a_secret_is_written_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    folder = EmbeddedFolder(tmp_path / "mongod")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full_disk)
        with pytest.raises(EmbeddedError, match="No space left"):
            folder.prepare()
    assert not folder.key_file.exists()
    assert len(folder.prepare()) == 32


def test_a_log_that_breaks_off_is_no_reason_to_fail(folder: EmbeddedFolder) -> None:
    folder.log.write_text('{"s": "E", "msg": "no space"}\n{"s": "F", "ms')
    assert folder.complaints() == "no space"
