"""The connector guide: its walk from an empty folder to a certificate is walked, its other code runs."""

from __future__ import annotations

import datetime
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import pytest

import schoolgate_sdk
from schoolgate.v1.kind_pb2 import KIND_ATTENDANCE_MARK

GUIDE = Path(__file__).parents[2] / "docs" / "connector-guide.md"
WALK = "From an empty folder to a certificate"

pytestmark = pytest.mark.skipif(not GUIDE.exists(), reason="not in a clone")


class Block(NamedTuple):
    section: str
    language: str
    code: str


def blocks() -> list[Block]:
    """Return the fenced blocks, without the indentation of the list that they stand in."""
    found: list[Block] = []
    section = ""
    lines = iter(GUIDE.read_text().splitlines())
    for line in lines:
        if line.startswith("## "):
            section = line.removeprefix("## ")
        if match := re.fullmatch(r"( *)```(\w+)", line):
            code: list[str] = []
            for inside in lines:
                if inside.strip() == "```":
                    break
                code.append(inside.removeprefix(match[1]))
            found.append(Block(section, match[2], "\n".join(code) + "\n"))
    return found


def apply(diff: str, folder: Path) -> None:
    """Make the change that a block of the guide shows; what it shows as being there has to be there, once."""
    head, *lines = diff.splitlines()
    file = folder / head.removeprefix("--- ")
    before = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "+")
    after = "".join(f"{line[1:]}\n" for line in lines if line[:1] != "-")
    text = file.read_text()
    assert text.count(before) == 1, f"{file.name} does not have once:\n{before}"
    file.write_text(text.replace(before, after))


def install(folder: Path) -> dict[str, str]:
    """Do what `pip install -e` does, without a network; return the environment in which it is so."""
    sources = folder / "src"
    info = sources / "schoolgate_acme-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: schoolgate-acme\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[schoolgate.connectors]\nacme = schoolgate_acme.plugin\n")
    path = os.pathsep.join(filter(None, (str(sources), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def run(command: str, folder: Path, environment: dict[str, str]) -> str:
    words = shlex.split(command)
    assert words[:2] == ["python", "-m"]
    done = subprocess.run(
        [sys.executable, *words[1:]], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_walk_ends_in_a_certificate(tmp_path: Path) -> None:
    folder, environment, shown = tmp_path, dict(os.environ), ""
    diffs = 0
    for block in blocks():
        if block.section != WALK:
            continue
        if block.language == "diff":
            apply(block.code, folder)
            diffs += 1
        elif block.language == "python":
            assert block.code in (folder / "tests" / "test_conformance.py").read_text()
        else:
            for command in block.code.splitlines():
                if command == "cd schoolgate-acme":
                    folder /= "schoolgate-acme"
                elif command == "python -m pip install -e '.[test]'":
                    environment = install(folder)
                elif not command.startswith("python -m pip"):
                    shown += run(command, folder, environment)
    assert diffs >= 8
    assert re.search(r"^proven +arrives\.room", shown, re.MULTILINE)
    certificate = json.loads((folder / "certificate.json").read_text())
    assert certificate["certified"]
    assert certificate["connector"]["parsers"]["rooms"] == [1]


def is_excerpt(block: Block) -> bool:
    return block.language == "python" and block.code.startswith("# src/")


def test_what_is_shown_of_the_template_stands_there() -> None:
    """The walk, which certifies the template, runs it there."""
    shown = [block.code for block in blocks() if is_excerpt(block)]
    for code in shown:
        path, _, text = code.removeprefix("# ").partition("\n")
        source = (files("schoolgate_sdk.testing") / "template" / f"{path}.template").read_text()
        source = re.sub(r"\n{3,}", "\n\n", source)
        # There, a comma may follow, and methods stand closer together than the formatter has them here.
        text = re.sub(r"\n{3,}", "\n\n", text.rstrip("\n"))
        assert any(textwrap.indent(text, " " * depth) in source for depth in (0, 4)), code
    assert len(shown) >= 5


def test_the_other_blocks_run() -> None:
    names = {name: getattr(schoolgate_sdk, name) for name in schoolgate_sdk.__all__}
    given = {
        "datetime": datetime.datetime,
        "timedelta": datetime.timedelta,
        "AsyncIterator": object,
        "SETTINGS": (),
        "CREDENTIALS": (),
        "DATASETS": (),
        "open_session": object(),
        "parse_mark": object(),
        "parse_mark_2": object(),
        "MARKS": schoolgate_sdk.KindSpec(KIND_ATTENDANCE_MARK, "acme/mark"),
    }
    ran = 0
    for block in blocks():
        if block.language == "python" and block.section != WALK and not is_excerpt(block):
            code = "from __future__ import annotations\n" + textwrap.dedent(block.code)
            exec(compile(code, "connector-guide.md", "exec"), {**names, **given})
            ran += 1
    assert ran >= 4
