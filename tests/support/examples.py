"""Examples of a document: lines of shell, run as they stand there, and what they are shown to print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ADDRESS = "localhost:50551"
"""Where the server is in documents."""
LEFT_OUT = "…"


class Example(NamedTuple):
    """Lines of shell, and what they are shown to print, if that is shown."""

    script: str
    shown: str | None


def examples(text: str) -> list[Example]:
    """Return the examples of a document, in their order."""
    pattern = r"^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?"
    return [Example(*found.groups()) for found in re.finditer(pattern, text, re.MULTILINE | re.DOTALL)]


def shell(target: str, grpcurl: str) -> dict[str, str]:
    """Return the environment of a shell that knows the commands, and the server at ``target``."""
    folders = [
        str(Path(sys.executable).parent),
        str(Path(grpcurl).parent),
        os.environ.get("PATH", os.defpath),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SCHOOLGATE_")}
    return environment | {
        "PATH": os.pathsep.join(folders),
        "SCHOOLGATE_SERVER": target,
        "COLUMNS": "110",
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
    }


def printed(script: str, environment: Mapping[str, str], folder: Path) -> tuple[int, str]:
    """Run a script in a :func:`shell`; return the last status, and what was written.

    What is written to standard error belongs to it where the script fails: remarks do not stand in the text.
    """
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script.replace(ADDRESS, environment["SCHOOLGATE_SERVER"])],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.returncode, done.stdout + (done.stderr if done.returncode else "")
