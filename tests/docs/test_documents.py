"""What the documents say exists: targets, commands, options, settings, links, tests."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel

from schoolgate_server.cli.app import app
from schoolgate_server.cli.failures import NEXT_STEPS
from schoolgate_server.settings import CONFIG_VARIABLE, Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("connectors/*/README.md")})
README = (ROOT / "README.md").read_text()

pytestmark = pytest.mark.skipif(not (ROOT / "Makefile").exists(), reason="not in a clone")


def each_document() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def code(text: str) -> Iterator[str]:
    """Yield what stands as code: indented and fenced lines (continued ones joined), and inline code."""
    joined = text.replace("\\\n", " ")
    yield from re.findall(r"^ {4,}(\S.*)$", joined, re.MULTILINE)
    for block in re.findall(r"^```\w*\n(.*?)^```", joined, re.MULTILINE | re.DOTALL):
        yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", joined)


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))


@each_document()
def test_make_targets_exist(document: Path) -> None:
    named = {
        match[1] for line in code(document.read_text()) if (match := re.match(r"make ([a-z][a-z-]*)", line))
    }
    assert named <= targets()


def commands(text: str) -> Iterator[list[str]]:
    for line in code(text):
        if match := re.match(r"(?:(?:\S*/)?schoolgate|docker compose run .*?\bcli) ((?!-).*)", line):
            words = shlex.split(match[1].split("  #")[0], comments=True)
            cut = [i for i, word in enumerate(words) if word in {">>", ">", "|", "&&"}]
            yield words[: cut[0]] if cut else words


def check_command(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)  # its types are private to typer
    path: list[str] = []
    while hasattr(command, "commands") and words and words[0] in command.commands:
        command = command.commands[words[0]]
        path.append(words.pop(0))
    assert path, f"no such command: schoolgate {' '.join(words)}"
    assert not hasattr(command, "commands") or not words, f"no such command: {path} {words}"
    known = {option for parameter in command.params for option in parameter.opts}
    if path[0] != "simulate":  # its options are the connector's
        unknown = {word.partition("=")[0] for word in words if re.match(r"--\w", word)} - known - {"--help"}
        assert not unknown, f"schoolgate {' '.join(path)} has no {unknown}"


@each_document()
def test_commands_and_options_exist(document: Path) -> None:
    for words in commands(document.read_text()):
        check_command(words)


def test_next_steps_name_commands_that_exist() -> None:
    for step in NEXT_STEPS.values():
        for words in commands(step.replace("{", "").replace("}", "")):
            check_command(words)


def settings() -> Iterator[tuple[str, object]]:
    for name, field in Settings.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            for inner, inner_field in group.model_fields.items():
                yield (
                    f"SCHOOLGATE_{name}__{inner}".upper(),
                    inner_field.get_default(call_default_factory=True),
                )
        else:
            yield f"SCHOOLGATE_{name}".upper(), field.get_default(call_default_factory=True)


def test_the_configuration_table_is_that_of_the_settings() -> None:
    rows = re.findall(r"^\| `(SCHOOLGATE_\w+)` \| (?:`(.*?)`)? ?\|", README, re.MULTILINE)
    shown = dict(rows)
    assert set(shown) == {name for name, _ in settings()}
    for name, default in settings():
        match default:
            case None:
                expected = ""
            case tuple():
                expected = "bromcom"
            case Path():
                expected = "~/.local/state/schoolgate"
            case _:
                expected = str(default)
        assert shown[name] == expected, name


@each_document()
def test_settings_that_are_named_exist(document: Path) -> None:
    known = {name for name, _ in settings()} | {CONFIG_VARIABLE}
    known |= {"SCHOOLGATE_SERVER", "SCHOOLGATE_TOKEN", "SCHOOLGATE_TOKEN_FILE", "SCHOOLGATE_CA"}
    named = set(re.findall(r"\bSCHOOLGATE_[A-Z_]*[A-Z]\b", document.read_text()))
    named = {name for name in named if not name.startswith(("SCHOOLGATE_CREDENTIAL", "SCHOOLGATE_TEST_"))}
    assert named <= known


def anchors(text: str) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@each_document()
def test_links_resolve(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = document.parent / path if path else document
        assert file.exists(), f"{target} does not exist"
        if anchor:
            assert anchor in anchors(file.read_text()), f"{file.name} has no heading {anchor}"


def test_every_guarantee_in_the_readme_has_the_tests_that_it_names() -> None:
    written = "\n".join(path.read_text() for path in ROOT.glob("tests/**/test_*.py"))
    defined = set(re.findall(r"def (test_g\d\d_\w+)", written))
    rows = re.findall(r"^\| (G\d\d) \| .+ \| (.+) \|$", README, re.MULTILINE)
    assert len(rows) >= 7
    for number, cell in rows:
        named = set(re.findall(r"`(test_\w+)`", cell))
        assert named, f"{number} names no test"
        assert all(number.lower() in name.split("_") for name in named)
        assert named <= defined, f"{number}: {named - defined} do not exist"


def test_the_test_command_is_the_one_of_ci() -> None:
    assert re.search(r"^    make test\b", README, re.MULTILINE)
    assert "make test" in (ROOT / ".ci" / "run").read_text().splitlines()


def test_the_index_of_decisions_is_complete() -> None:
    folder = ROOT / "docs" / "adr"
    listed = set(re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text()))
    assert listed == {path.name for path in folder.glob("[0-9]*.md")}
