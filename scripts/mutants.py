"""Take the mechanism behind each guarantee out, one at a time, and see its test fail.

    .venv/bin/python -m scripts.mutants            # all mutants
    .venv/bin/python -m scripts.mutants g02 g05    # those of some guarantees

A test that passes without the mechanism that it is about shows nothing. Each mutant is a copy of the sources
with one replacement; the named tests run against the copy and at least one must fail. Exit status 1 where a
mutant survives, or where a replacement no longer finds its text; what pytest printed stands with it, and the
last lines name every survivor. As many are tried at once as there are cores.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from scripts.mutations import MUTANTS
from scripts.mutations.base import Mutant

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("server/src", "client/src", "plugins/src", "connectors/bromcom/src", "connectors/wonde/src")


class Outcome(NamedTuple):
    """``why`` a mutant survives, empty where a test fails as it should, and what pytest ``printed``."""

    why: str
    printed: str = ""


def outcome_of(mutant: Mutant) -> Outcome:
    """Run the tests of ``mutant`` against a copy of the sources that has it."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder)
        for source in SOURCES:
            shutil.copytree(ROOT / source, copy / source, ignore=shutil.ignore_patterns("__pycache__"))
        target = copy / mutant.file
        text = target.read_text()
        if text.count(mutant.old) != 1:
            return Outcome(f"its text stands {text.count(mutant.old)} times in {mutant.file}")
        target.write_text(text.replace(mutant.old, mutant.new))
        report = copy / "report.xml"
        command = [sys.executable, "-m", "pytest", mutant.tests, "-k", mutant.expression, "-q", "-x"]
        # xunit1: the tests of histories tell what they met as properties, which xunit2 has no place for.
        command += [f"--junitxml={report}", "-o", "junit_family=xunit1", "--timeout", "60"]
        command += ["-p", "no:cacheprovider", "--no-header"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(copy / source) for source in SOURCES)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        return Outcome(_verdict(report, done.returncode), done.stdout + done.stderr)


def _verdict(report: Path, exit_status: int) -> str:
    """Return why the run of tests that ``report`` is of catches nothing, or nothing.

    A test must have failed. One that could not be set up says nothing of the mechanism, and neither does how
    the process ends after it has reported: a failed test may leave threads behind that break its exit. To run
    out of time is no such failure: a slow machine does it too, and it may break pytest itself.
    """
    if not report.exists():
        return f"pytest ended with {exit_status} and no report"
    suite = ElementTree.parse(report).getroot()  # noqa: S314 - our own pytest's
    if (failure := suite.find(".//testcase/failure")) is not None:
        return "its tests run out of time" if "from pytest-timeout" in failure.get("message", "") else ""
    if suite.find(".//testcase/error") is not None:
        return "its tests cannot be set up"
    return "its tests pass" if suite.find(".//testcase") is not None else "it has no tests"


def main(wanted: list[str]) -> int:
    """Try the mutants of the guarantees in ``wanted``, or all; return an exit status."""
    chosen = [mutant for mutant in MUTANTS if not wanted or mutant.guarantee in wanted]
    survivors: list[str] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutant, outcome in zip(chosen, pool.map(outcome_of, chosen), strict=True):
            verdict = f"SURVIVES ({outcome.why})" if outcome.why else "caught"
            line = f"{mutant.guarantee}  {verdict:9} {mutant.what}"
            print(line, flush=True)
            if outcome.why:
                print(outcome.printed, flush=True)
                survivors.append(f"{line}\n     pytest {mutant.tests} -k '{mutant.expression}'")
    # The survivors once more, where also a log that was cut short has them.
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants caught", *survivors, sep="\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
