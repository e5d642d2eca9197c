"""Take the mechanism behind each guarantee out, one at a time, and see its test fail.

    .venv/bin/python -m scripts.mutants            # all mutants
    .venv/bin/python -m scripts.mutants g02 g05    # those of some guarantees

A test that passes without the mechanism that it is about shows nothing. Each mutant is a copy of the sources
with one replacement; the named tests run against the copy and at least one must fail, by what it says itself:
neither while it is set up nor by pytest's limit of time. Exit status 1 where a mutant survives, or where a
replacement no longer finds its text; what pytest printed stands with it, and the last lines name every
survivor. As many are tried at once as there are cores.
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

_LONGEST_S = 300
"""Seconds after which a run of tests is given up: one may swallow pytest's alarm, which strikes only once."""


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
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_LONGEST_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Outcome(f"pytest did not end within {_LONGEST_S} s")
        reported = report.read_text(encoding="utf-8") if report.exists() else ""
        return Outcome(verdict_of(reported, done.returncode), done.stdout + done.stderr)


def verdict_of(report: str, exit_status: int) -> str:
    """Return why a run of tests does not catch its mutant, "" where it does.

    ``report`` is pytest's, in XML, "" where it left none. Pytest's own limit of time catches nothing: a slow
    machine runs into it as well, and its alarm can break pytest itself. A limit that a test sets to what it
    waits for is its verdict. How the process ends after a failure was reported does not count: a failed test
    may leave threads behind that break its exit.
    """
    try:
        root = ElementTree.fromstring(report)  # noqa: S314 - our own pytest's
    except ElementTree.ParseError:
        return f"pytest ended with {exit_status} and left no report"
    if (failure := root.find(".//testcase/failure")) is not None:
        said = failure.get("message", "") + (failure.text or "")
        return "its test runs out of time" if "from pytest-timeout" in said else ""
    if (error := root.find(".//testcase/error")) is not None:
        return f"none failed by itself: {error.get('message', '').partition(chr(10))[0]}"
    if exit_status != 0:
        return f"pytest ended with {exit_status}"
    tests, skipped = root.findall(".//testcase"), root.findall(".//testcase/skipped")
    return "its tests are skipped" if len(skipped) == len(tests) else "its tests pass"


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
                survivors.append(f"{line}\n     its tests: {mutant.tests} -k '{mutant.expression}'")
                if outcome.printed:
                    print(outcome.printed, flush=True)
    # Once more, at the end: a log that is cut short keeps its last lines.
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants caught", *survivors, sep="\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
