"""`schoolgate demo` as a person runs it: a process of its own, with processes of its own."""

from __future__ import annotations

import fcntl
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SDS = ROOT.parent / "shared" / "data" / "sds-uk-100"

pytestmark = [
    pytest.mark.mongod,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("demo"),  # each has a MongoDB of its own, and machines have few cores
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc"),
]


def leftovers(folder: Path) -> list[str]:
    """Return the command lines of processes that work in ``folder``, or name it."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            place = str((process / "cwd").readlink())
        except OSError:
            continue
        if str(folder) in line or place.startswith(str(folder)):
            found.append(line)
    return found


@contextmanager
def demo(tmp_path: Path, *arguments: str) -> Generator[subprocess.Popen[str]]:
    """Run a demo whose folder is in ``tmp_path``, and end it if the test did not."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SCHOOLGATE_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "schoolgate_server.cli", "demo", *arguments],
        env={**environment, "TMPDIR": str(temporary), "COLUMNS": "140"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.communicate(timeout=60)
        except (subprocess.TimeoutExpired, ValueError):
            process.kill()
            process.wait()


def read_until(process: subprocess.Popen[str], words: str) -> None:
    """Read a demo's output as far as ``words``, and let it write little more before it must wait for us.

    What it still has to say is more than a page, so it certainly runs, however late this test's turn comes.
    """
    assert process.stdout is not None
    output = process.stdout.fileno()
    fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, resource.getpagesize())
    seen = b""
    while words.encode() not in seen:
        byte = os.read(output, 1)  # a buffer would make room for the rest
        assert byte, f"the demo ended before it said {words!r}"
        seen += byte


def nothing_is_left(tmp_path: Path) -> None:
    assert leftovers(tmp_path) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_it_shows_everything_and_ends_by_itself(tmp_path: Path) -> None:
    with demo(tmp_path, "--pupils", "60") as process:
        out, err = process.communicate(timeout=200)
    assert (process.returncode, err) == (0, "")
    assert re.search(r"attendance_marks: succeeded, [\d,]+ rows: [\d,]+ new, 0 changed", out)
    assert re.search(r"joined   Zoë Ashworth, stu_\w{32}, version 1", out)
    assert re.search(r"left     .+, tombstone [A-Z_]+ at ", out)
    assert re.search(r"version 2  seq .*  source  run_\w+\n +surname  \S.* +→  Okafor-Reid", out)
    assert re.search(r" code +N +→  I +\n +meaning  unauthorised absence  →  authorised absence", out)
    assert re.search(r"student +60 +60 +1$", out, re.MULTILINE)
    assert "nothing written, seq stays" in out
    nothing_is_left(tmp_path)


@pytest.mark.sds
@pytest.mark.skipif(not SDS.is_dir(), reason=f"{SDS} is not there")
def test_it_plays_real_files(tmp_path: Path) -> None:
    with demo(tmp_path, "--data", str(SDS)) as process:
        out, err = process.communicate(timeout=200)
    assert (process.returncode, err) == (0, "")
    for row in ("student +60 +26", "staff +7 +5", "group +14 +14", "group_membership +420 +182"):
        assert re.search(rf"^ +{row}$", out, re.MULTILINE), row
    assert "Okafor-Reid" in out
    nothing_is_left(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_its_processes(tmp_path: Path, number: signal.Signals) -> None:
    with demo(tmp_path, "--pupils", "60") as process:
        read_until(process, "registered through gRPC")
        assert len(leftovers(tmp_path)) >= 3  # server, MongoDB, simulator
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped; the demo's processes have ended" in err
    nothing_is_left(tmp_path)


def test_a_failure_ends_it_with_its_processes_and_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "no files at all"
    folder.mkdir()
    with demo(tmp_path, "--data", str(folder)) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error: simulator ended with status 1" in err
    assert "School.csv" in err
    assert leftovers(tmp_path / "tmp") == []


def grpcurl() -> str | None:
    return shutil.which("grpcurl", path=f"{os.environ['PATH']}:{ROOT / '.tools' / 'bin'}")


@pytest.mark.skipif(
    grpcurl() is None, reason="no grpcurl: go install github.com/fullstorydev/grpcurl/cmd/grpcurl@latest"
)
def test_the_grpcurl_lines_work_as_printed(tmp_path: Path) -> None:
    with demo(tmp_path, "--pupils", "60", "--serve") as process:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line.strip())
            if line.startswith("rm -r "):
                break
        path = f"{Path(grpcurl() or '').parent}:{os.defpath}"  # without the folder of schoolgate
        environment = {**os.environ, "PATH": path}
        answers = [
            subprocess.run(line, shell=True, env=environment, capture_output=True, text=True, check=False)
            for line in lines
            if line.startswith("grpcurl ")
        ]
        commands = [
            subprocess.run(line, shell=True, env=environment, capture_output=True, text=True, check=False)
            for line in lines
            if re.match(r"\S*schoolgate (query|versions|sync|runs) ", line)
        ]
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.wait(60)
    *fine, error = answers
    assert [answer.returncode for answer in fine] == [0] * len(fine), [answer.stderr for answer in fine]
    listed, _, counted, streamed, versions, runs = (answer.stdout for answer in fine)
    assert "schoolgate.v1.QueryService" in listed
    assert re.search(r'"count": "60"', counted)
    assert streamed.count('"id": "stu_') == 3
    assert re.search(r'"changed_fields": \[\s*"surname"', versions)
    assert "RUN_STATE_SUCCEEDED" in runs
    assert error.returncode != 0
    assert "SCHOOL_NOT_FOUND" in error.stderr
    assert [command.returncode for command in commands] == [0] * 4
    assert process.returncode == 0
    time.sleep(0.1)
    assert leftovers(tmp_path) == []
    assert list((tmp_path / "tmp").iterdir())  # kept, as it says
