"""Making the package of a new connector: ``python -m schoolgate_sdk.testing.new NAME [--folder DIR]``."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"[a-z][a-z0-9]{1,29}")
_OURS: Final = frozenset({"proto", "sdk", "server"})
_SUFFIX: Final = ".template"


class CannotMake(ValueError):
    """The package cannot be made; the text says why."""


def new_connector(name: str, folder: Path) -> list[Path]:
    """Write the package of a connector called ``name`` into ``folder`` and return the files.

    Raises:
        CannotMake: the name is none for a connector, or the folder has something in it.
        OSError: the folder cannot be written to.
    """
    if not _NAME.fullmatch(name):
        raise CannotMake(f"{name!r} is no name for a connector: small letters and digits, a letter first")
    if name in _OURS:
        raise CannotMake(f"schoolgate-{name} is a distribution of schoolgate's own; choose another name")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CannotMake(f"{folder} is there already, and not an empty folder; choose another: --folder DIR")
    written: list[Path] = []
    for path, source in _files(files("schoolgate_sdk.testing") / "template"):
        target = folder / _named(path, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_named(source.read_text(encoding="utf-8"), name), encoding="utf-8")
        written.append(target)
    return written


def _files(folder: Traversable, under: str = "") -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _files(entry, f"{under}{entry.name}/")
        elif entry.name.endswith(_SUFFIX):
            yield f"{under}{entry.name.removesuffix(_SUFFIX)}", entry


def _named(text: str, name: str) -> str:
    return text.replace("acme", name).replace("Acme", name.capitalize())


def next_steps(name: str, folder: Path) -> str:
    """Return what a person does next, as text."""
    return (
        f"{folder} is a connector called {name}, with a simulator. Next:\n"
        f"  cd {folder}\n"
        "  python -m pip install -e '.[test]'\n"
        "  python -m pytest\n"
        f"  python -m schoolgate_sdk.testing.conformance {name} --out certificate.json\n"
        "and then as its README.md says."
    )


def main(arguments: Sequence[str]) -> int:
    """Make the package that the arguments name; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m schoolgate_sdk.testing.new",
        description="Makes the package of a new connector, which the conformance kit certifies at once.",
    )
    parser.add_argument("name", help="name of the connector, such as acme")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="where to make it (default: schoolgate-NAME)"
    )
    given = parser.parse_args(arguments)
    folder = given.folder or Path(f"schoolgate-{given.name}")
    try:
        new_connector(given.name, folder)
    except (CannotMake, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{next_steps(given.name, folder)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
