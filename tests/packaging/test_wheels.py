"""What the wheels hold, say and ask for, read from the wheels themselves."""

from __future__ import annotations

import ast
import email
import functools
import importlib.metadata
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from email.message import Message
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement

from tests.packaging.installing import ROOT, Workshop, import_root, members, read_toml

pytestmark = pytest.mark.slow  # the first of them waits for the build

MEMBERS = members()

each_distribution = pytest.mark.parametrize("distribution", MEMBERS)

BROUGHT_BY = {
    "schoolgate-proto": "schoolgate-sdk",  # a connector author asks for the SDK alone
    "protobuf": "schoolgate-proto",  # whoever uses messages uses protobuf's own functions on them
    "pymongocrypt": "pymongo",  # [encryption] is the one way to the release that fits
}
"""What may be imported on the strength of another requirement, which stands before it."""

TEMPLATE = "schoolgate_sdk/testing/template/"
"""What ``schoolgate connector new`` copies; tests are part of it."""

SHARED_NAMESPACE = {"google.protobuf": "protobuf", "google.rpc": "googleapis-common-protos"}


def contents(workshop: Workshop, distribution: str) -> dict[str, bytes]:
    with zipfile.ZipFile(workshop.wheel(distribution)) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist()}


def metadata(workshop: Workshop, distribution: str) -> Message:
    [text] = [
        content
        for name, content in contents(workshop, distribution).items()
        if name.endswith(".dist-info/METADATA")
    ]
    return email.message_from_bytes(text)


def requirements(workshop: Workshop, distribution: str) -> list[Requirement]:
    found = metadata(workshop, distribution).get_all("Requires-Dist") or []
    return [Requirement(text) for text in found]


def is_optional(requirement: Requirement) -> bool:
    return requirement.marker is not None and "extra" in str(requirement.marker)


def base_names(workshop: Workshop, distribution: str) -> set[str]:
    return {r.name for r in requirements(workshop, distribution) if not is_optional(r)}


def source(distribution: str) -> Path:
    build = read_toml(MEMBERS[distribution] / "pyproject.toml")["tool"]["hatch"]["build"]
    packages: list[str] = build["targets"]["wheel"]["packages"]
    [package] = packages
    return MEMBERS[distribution] / package


def test_the_distributions_and_the_connectors_are_built_once_each(workshop: Workshop) -> None:
    ours = {"schoolgate-proto", "schoolgate-client", "schoolgate-sdk", "schoolgate-server"}
    assert ours | {"schoolgate-bromcom", "schoolgate-wonde"} <= set(MEMBERS)
    built = sorted(path.name.split("-")[0] for path in workshop.dist.glob("schoolgate*"))
    assert built == sorted(2 * [name.replace("-", "_") for name in MEMBERS])


@each_distribution
def test_wheel_installs_its_import_root_and_nothing_else(workshop: Workshop, distribution: str) -> None:
    version = metadata(workshop, distribution)["Version"]
    tops = {PurePosixPath(name).parts[0] for name in contents(workshop, distribution)}
    assert tops == {import_root(distribution), f"{distribution.replace('-', '_')}-{version}.dist-info"}


@each_distribution
def test_wheel_has_every_file_of_its_source_and_no_test(workshop: Workshop, distribution: str) -> None:
    root = import_root(distribution)
    shipped = {name for name in contents(workshop, distribution) if name.startswith(f"{root}/")}
    folder = source(distribution)
    kept = {
        f"{root}/{path.relative_to(folder).as_posix()}"
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped == kept
    of_ours = {name for name in shipped if not name.startswith(TEMPLATE)}
    named = {part for name in of_ours for part in PurePosixPath(name).parts}
    assert not {part for part in named if part in {"tests", "conftest.py"} or part.startswith("test_")}


@each_distribution
def test_wheel_is_typed_and_licensed(workshop: Workshop, distribution: str) -> None:
    found = contents(workshop, distribution)
    assert f"{import_root(distribution)}/py.typed" in found
    [licence] = [content for name, content in found.items() if name.endswith(".dist-info/licenses/LICENSE")]
    assert licence == (ROOT / "LICENSE").read_bytes()


@each_distribution
def test_sdist_has_what_its_licence_asks_for(workshop: Workshop, distribution: str) -> None:
    [path] = workshop.dist.glob(f"{distribution.replace('-', '_')}-*.tar.gz")
    with tarfile.open(path) as sdist:
        names = {PurePosixPath(name).relative_to(PurePosixPath(name).parts[0]) for name in sdist.getnames()}
    assert {PurePosixPath("LICENSE"), PurePosixPath("pyproject.toml")} <= names
    if distribution == "schoolgate-proto":
        kept = {p.relative_to(ROOT / "proto") for p in (ROOT / "proto" / "schoolgate").rglob("*.proto")}
        assert kept
        assert {PurePosixPath(path.as_posix()) for path in kept} <= names


@each_distribution
def test_metadata_says_what_it_is(workshop: Workshop, distribution: str) -> None:
    said = metadata(workshop, distribution)
    assert said["Name"] == distribution
    assert said["Requires-Python"] == read_toml(ROOT / "pyproject.toml")["project"]["requires-python"]
    assert said["License-Expression"] == "MIT"
    assert said.get_all("License-File") == ["LICENSE"]
    assert said["Summary"]
    assert "Typing :: Typed" in said.get_all("Classifier", [])
    assert workshop.wheel(distribution).name.endswith("-py3-none-any.whl")


def test_messages_need_protobuf_only_and_the_sdk_little_more(workshop: Workshop) -> None:
    assert base_names(workshop, "schoolgate-proto") == {"protobuf"}
    assert base_names(workshop, "schoolgate-sdk") == {"schoolgate-proto", "orjson", "pluggy"}
    # An extra would bring gRPC in by the back door.
    assert not any(r.extras for r in requirements(workshop, "schoolgate-sdk"))
    for connector in ("schoolgate-bromcom", "schoolgate-wonde"):
        assert base_names(workshop, connector) & set(MEMBERS) == {"schoolgate-sdk"}


def test_the_server_needs_no_connector_and_no_mongod(workshop: Workshop) -> None:
    assert base_names(workshop, "schoolgate-server") & set(MEMBERS) == {"schoolgate-proto", "schoolgate-sdk"}
    extras = set(metadata(workshop, "schoolgate-server").get_all("Provides-Extra", []))
    assert extras >= {"embedded", "motor"}
    assert "motor" not in base_names(workshop, "schoolgate-server")


@functools.cache
def owners_by_package() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()  # reads the whole environment


def imported(code: bytes) -> Iterator[str]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def distributions_of(module: str) -> set[str]:
    """Return the names of the distributions that have ``module``; empty for the standard library."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        return set()
    for name in MEMBERS:
        if top == import_root(name):
            return {name}
    for prefix, owner in SHARED_NAMESPACE.items():
        if f"{module}.".startswith(f"{prefix}."):
            return {owner}
    owners = owners_by_package().get(top)
    assert owners, f"{module} is imported, but nothing that is installed has it"
    return set(owners)


@each_distribution
def test_whatever_is_imported_is_required(workshop: Workshop, distribution: str) -> None:
    required = {r.name for r in requirements(workshop, distribution)} | {distribution}
    for name, bringer in BROUGHT_BY.items():
        if bringer in required:
            required.add(name)
    missing: dict[str, set[str]] = {}
    for name, content in contents(workshop, distribution).items():
        if name.endswith(".py"):  # a stub may also import what type checkers bring along
            for module in imported(content):
                owners = distributions_of(module)
                if owners and not owners & required:
                    missing.setdefault(module, set()).add(name)
    assert not missing


def test_the_command_and_the_connector_are_entry_points(workshop: Workshop) -> None:
    for distribution, expected in (
        ("schoolgate-server", "[console_scripts]\nschoolgate = schoolgate_server.cli.app:main"),
        ("schoolgate-bromcom", "[schoolgate.connectors]\nbromcom = schoolgate_bromcom.plugin"),
        ("schoolgate-wonde", "[schoolgate.connectors]\nwonde = schoolgate_wonde.plugin"),
    ):
        found = contents(workshop, distribution)
        [text] = [text for name, text in found.items() if name.endswith(".dist-info/entry_points.txt")]
        assert text.decode().strip() == expected
