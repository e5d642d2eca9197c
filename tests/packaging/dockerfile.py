"""As much of a Dockerfile as ours uses: stages of instructions, and the files that COPY may take."""

from __future__ import annotations

import fnmatch
import re
import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    name: str
    text: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)


@dataclass(frozen=True)
class Copy:
    """A COPY from the build context, or from another stage."""

    stage: str | None
    sources: tuple[str, ...]
    target: str


def stages(text: str) -> list[list[Instruction]]:
    """Return the instructions of each stage, the first of each being its FROM."""
    without_comments = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    joined = re.sub(r"\\\n\s*", " ", without_comments)
    found: list[list[Instruction]] = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append(Instruction(name, rest.strip()))
    return found


def arguments(text: str) -> dict[str, str]:
    """Return the defaults of every ARG."""
    return dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE))


def copies(stage: list[Instruction]) -> list[Copy]:
    found: list[Copy] = []
    for instruction in stage:
        if instruction.name == "COPY":
            words = instruction.words
            origin = next((w.removeprefix("--from=") for w in words if w.startswith("--from=")), None)
            *sources, target = (word for word in words if not word.startswith("--"))
            found.append(Copy(origin, tuple(sources), target))
    return found


def is_sent(path: Path, dockerignore: str) -> bool:
    """Whether a relative path is part of the build context; the last line that matches decides."""
    sent = True
    for line in filter(None, map(str.strip, dockerignore.splitlines())):
        if line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        anywhere = pattern.removeprefix("**/")
        candidates = [path, *path.parents][:-1]
        if anywhere != pattern:
            matches = any(fnmatch.fnmatch(part, anywhere) for part in path.parts)
        else:
            matches = any(fnmatch.fnmatch(candidate.as_posix(), pattern) for candidate in candidates)
        if matches:
            sent = line.startswith("!")
    return sent
