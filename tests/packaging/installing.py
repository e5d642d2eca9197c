"""Wheels and clean virtual environments, made with the project's own uv, once per test run."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PLUGINS = Path(__file__).parent / "plugins"

_FOREIGN = ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME")
"""Variables of whoever runs the tests that would lead uv or Python elsewhere."""

_DISTRIBUTIONS = (
    "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
)


def read_toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def members() -> dict[str, Path]:
    """Return the workspace's distributions by name, each with its folder."""
    listed = read_toml(ROOT / "pyproject.toml")["tool"]["uv"]["workspace"]["members"]
    folders = [ROOT / member for member in listed]
    return {read_toml(folder / "pyproject.toml")["project"]["name"]: folder for folder in folders}


def import_root(distribution: str) -> str:
    """Return the one package that a distribution may install."""
    return "schoolgate" if distribution == "schoolgate-proto" else distribution.replace("-", "_")


def find_uv() -> Path | None:
    """Return the uv that `make` put into the project, else the one on PATH."""
    ours = ROOT / ".tools" / "uv" / "bin" / "uv"
    elsewhere = shutil.which("uv")
    return ours if ours.exists() else Path(elsewhere) if elsewhere else None


@dataclass(frozen=True)
class Uv:
    """Commands of uv; the network is asked only for what uv's cache has not."""

    program: Path

    def __call__(self, *arguments: str, cwd: Path = ROOT) -> str:
        """Run uv with ``arguments`` and return its standard output."""
        return self._run([str(self.program), *arguments], cwd)

    def shell(self, script: str, cwd: Path) -> str:
        """Run a shell script that calls uv; as it may be run twice, it must bear that."""
        return self._run(["bash", "-euc", script], cwd)

    def _run(self, command: list[str], cwd: Path) -> str:
        done = self._attempt(command, cwd, UV_OFFLINE="1")
        if done.returncode:
            done = self._attempt(command, cwd)
        assert not done.returncode, f"{' '.join(command)}\n{done.stderr}"
        return done.stdout

    def _attempt(self, command: list[str], cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
        path = os.pathsep.join([str(self.program.parent), environment.get("PATH", os.defpath)])
        return subprocess.run(
            command,
            cwd=cwd,
            env={**environment, "PATH": path, "NO_COLOR": "1", **settings},
            capture_output=True,
            text=True,
            check=False,
        )


@dataclass(frozen=True)
class Environment:
    """A virtual environment that knows nothing of this clone. ``folder / "cwd"`` is empty."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def cwd(self) -> Path:
        return self.folder / "cwd"

    def variables(self, settings: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return all that a process in here sees of the outside, and ``settings``."""
        return {
            "PATH": str(self.folder / "bin"),
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            **(settings or {}),
        }

    def run(
        self,
        program: str,
        *arguments: str,
        settings: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.folder / "bin" / program, *arguments],
            cwd=self.cwd,
            env=self.variables(settings),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    def output(self, program: str, *arguments: str, settings: Mapping[str, str] | None = None) -> str:
        """Return the standard output of a command that must succeed."""
        done = self.run(program, *arguments, settings=settings)
        assert not done.returncode, f"{program} {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def distributions(self) -> dict[str, str]:
        """Return what is installed, by name, with its version."""
        installed: dict[str, str] = json.loads(self.output("python", "-c", _DISTRIBUTIONS))
        return installed


@dataclass(frozen=True)
class Workshop:
    """Builds and installs. ``folder`` belongs to the whole run, whose processes share what is in it."""

    folder: Path
    uv: Uv
    python: str

    @property
    def dist(self) -> Path:
        """The folder with a wheel and an sdist of every workspace member."""

        def build(folder: Path) -> None:
            self.uv("build", "--all-packages", "--out-dir", str(folder))

        return self._once("dist", build)

    def wheel(self, distribution: str) -> Path:
        [found] = self.dist.glob(f"{distribution.replace('-', '_')}-*.whl")
        return found

    def plugin(self, name: str) -> Path:
        """Return a copy of the plugin folder ``name`` outside this clone."""

        def copy(folder: Path) -> None:
            shutil.copytree(PLUGINS / name, folder, dirs_exist_ok=True)

        return self._once(f"plugin-{name}", copy)

    def environment(self, name: str, *requirements: str) -> Environment:
        """Return a new environment with ``requirements``: our wheels, and everything else as in the lock."""

        def install(folder: Path) -> None:
            self.uv("venv", "--quiet", "--no-project", "--python", self.python, str(folder))
            environment = Environment(folder)
            environment.cwd.mkdir()
            self.uv(
                *("pip", "install", "--quiet", "--python", str(environment.python)),
                *("--constraints", str(self._pins)),
                *("--build-constraints", str(self._build_pins)),
                *requirements,
                cwd=environment.cwd,
            )

        return Environment(self._once(f"environment-{name}", install))

    @property
    def _pins(self) -> Path:
        """Constraints: our distributions are the wheels just built, all others have the locked versions."""

        def export(folder: Path) -> None:
            locked = self.uv(
                *("export", "--quiet", "--frozen", "--no-dev", "--all-packages", "--all-extras"),
                *("--no-emit-workspace", "--no-annotate", "--no-header", "--no-hashes"),
            )
            ours = [f"{name} @ {self.wheel(name).as_uri()}\n" for name in members()]
            (folder / "pins.txt").write_text(locked + "".join(ours))

        return self._once("pins", export) / "pins.txt"

    @property
    def _build_pins(self) -> Path:
        def write(folder: Path) -> None:
            pins = read_toml(ROOT / "pyproject.toml")["tool"]["uv"]["build-constraint-dependencies"]
            (folder / "build.txt").write_text("\n".join(pins))

        return self._once("build-pins", write) / "build.txt"

    def _once(self, name: str, make: Callable[[Path], None]) -> Path:
        """Return the folder ``name``, made by the first process of this run that asks for it."""
        folder, done = self.folder / name, self.folder / f"{name}.done"
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                done.touch()
        return folder


def server_environment(workshop: Workshop) -> Environment:
    """Return the environment with the server and every connector, made once for all tests of it."""
    return workshop.environment(
        "server", "schoolgate-server[embedded]", "schoolgate-bromcom", "schoolgate-wonde"
    )
