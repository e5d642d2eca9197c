"""Take the mechanism behind each guarantee out, one at a time, and see its test fail.

    .venv/bin/python -m scripts.mutants            # all mutants
    .venv/bin/python -m scripts.mutants g02 g05    # those of some guarantees

A test that passes without the mechanism that it is about shows nothing. Each mutant is a copy of the sources
with one replacement; the named tests run against the copy and at least one must fail. Exit status 1 where a
mutant survives, or where a replacement no longer finds its text. As many are tried at once as there are
cores.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts.mutations import MUTANTS
from scripts.mutations.base import Mutant

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("server/src", "client/src", "plugins/src", "connectors/bromcom/src", "connectors/wonde/src")


def survives(mutant: Mutant) -> str | None:
    """Return why ``mutant`` is not caught, or ``None`` where a test fails as it should."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder)
        for source in SOURCES:
            shutil.copytree(ROOT / source, copy / source, ignore=shutil.ignore_patterns("__pycache__"))
        target = copy / mutant.file
        text = target.read_text()
        if text.count(mutant.old) != 1:
            return f"its text stands {text.count(mutant.old)} times in {mutant.file}"
        target.write_text(text.replace(mutant.old, mutant.new))
        path = os.pathsep.join(str(copy / source) for source in SOURCES)
        command = [sys.executable, "-m", "pytest", mutant.tests, "-k", mutant.expression]
        command += ["-q", "-x", "-p", "no:cacheprovider", "--timeout", "60", "--no-header"]
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, check=False
        )
        if done.returncode == 1:
            return None
        return "its tests pass" if done.returncode == 0 else f"pytest ended with {done.returncode}"


def main(wanted: list[str]) -> int:
    """Try the mutants of the guarantees in ``wanted``, or all; return an exit status."""
    chosen = [mutant for mutant in MUTANTS if not wanted or mutant.guarantee in wanted]
    survivors = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutant, why in zip(chosen, pool.map(survives, chosen), strict=True):
            survivors += why is not None
            verdict = "caught" if why is None else f"SURVIVES ({why})"
            print(f"{mutant.guarantee}  {verdict:9} {mutant.what}", flush=True)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
