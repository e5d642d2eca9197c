"""The README's lines for a first school, run as they stand there, in their order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, service
from tests.support.simulator import start_simulator

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("e2e")]

SECTIONS = ("Register a school and sync it", "Ask with grpcurl")
SERVER = "127.0.0.1:50551"
IDS = {"RECORD": "stu", "STUDENT": "stu", "STAFF": "stf"}
"""What stands for the id of a record that a line before has shown, and how that begins."""
ELSEWHERE = ("gate.example.org", " HOLD ")
"""In lines about what this test has not: a server with TLS, something held."""


def lines() -> Iterator[str]:
    """Yield the lines of code of the sections, continued ones joined."""
    readme = (ROOT / "README.md").read_text().replace("\\\n", " ")
    for section in SECTIONS:
        text = readme.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
        found = re.findall(r"^ {4,}(\S.*)$", text, re.MULTILINE)
        assert found, f"the README has no lines of code under {section!r}"
        yield from (line for line in found if not any(word in line for word in ELSEWHERE))


def test_the_lines_work_as_printed(tmp_path: Path, grpcurl_path: str) -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("SCHOOLGATE_")}
    folders = [str(Path(sys.executable).parent), str(Path(grpcurl_path).parent), own.get("PATH", os.defpath)]
    printed: list[str] = []
    ids: dict[str, str] = {}
    with (
        start_simulator("--pupils", "40", "--marks-until", "2026-11-03") as mis,
        service(tmp_path, {}) as running,
    ):
        environment = {**own, "PATH": os.pathsep.join(folders), "SCHOOLGATE_SERVER": running.target}
        environment |= {
            f"SCHOOLGATE_CREDENTIAL_{name.upper()}": value for name, value in mis.credentials.items()
        }
        for line in lines():
            command = line.replace(SERVER, running.target)
            if "school add" in line:
                command += f" --setting base_url={mis.base_url}"  # as the README says of a simulated MIS
            for name, prefix in IDS.items():
                command = command.replace(f" {name} ", f" {ids.get(prefix, '')} ")
            done = subprocess.run(
                command, shell=True, env=environment, capture_output=True, text=True, timeout=100, check=False
            )
            assert done.returncode == 0, f"{line}\n{done.stderr}"
            printed.append(done.stdout)
            # Columns of a table begin with the record's id, as the line with RECORD says.
            for found in re.findall(r"^[a-z]{3}_\w{32}", done.stdout, re.MULTILINE):
                ids.setdefault(found[:3], found)
    assert {"stu", "stf"} <= set(ids), "queries found a student and a member of staff"
    assert len(printed) >= 18
    assert sum('"kind": "KIND_STUDENT"' in text for text in printed) == 1, "QueryRecords answered"
