"""docs/writeback.md: every example is run as it stands there, in order, and prints what the text shows."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate_sdk.kinds import KINDS
from schoolgate_server.rpc.roles import METHOD_ROLES
from tests.e2e.conftest import ROOT, Service, service
from tests.support.examples import LEFT_OUT, examples, printed, shell
from tests.support.live import Live, live
from tests.support.simulator import start_simulator

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(400)]

DOCUMENT = (ROOT / "docs" / "writeback.md").read_text()
MASKS = ((r"auto-[0-9a-f]{40}", "auto-KEY"), (r"2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME"))


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Service, Live]]:
    folder = tmp_path_factory.mktemp("docs")
    with (
        start_simulator("--pupils", "40", "--marks-until", "2026-09-11") as simulator,
        service(folder, {}) as running,
        live(running.target, folder / "data") as oak,
    ):
        oak.register("oak", simulator, data_profile=[f"{info.name}.*" for info in KINDS.values()])
        oak.sync("oak")
        yield running, oak


def lines(text: str) -> list[str]:
    """Return lines with what differs each time masked, and with single spaces: columns are as wide as ids."""
    for pattern, name in MASKS:
        text = re.sub(pattern, name, text)
    return [" ".join(line.split()) for line in text.strip().splitlines()]


def agrees(shown: Sequence[str], told: Sequence[str]) -> bool:
    """Whether ``told`` is what is shown, where ``…`` stands for anything, and a line of it for any lines."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == LEFT_OUT else ".*".join(map(re.escape, line.split(LEFT_OUT))) + r"\n"
        for line in shown
    )
    return bool(re.fullmatch(pattern, "".join(f"{line}\n" for line in told)))


def test_the_examples_print_what_the_text_shows(
    school: tuple[Service, Live], grpcurl_path: str, tmp_path: Path
) -> None:
    running, oak = school
    environment = shell(running.target, grpcurl_path)
    environment["STUDENT"] = oak.records("oak", kinds.KIND_STUDENT)[0].id
    environment["STAFF"] = oak.records("oak", kinds.KIND_STAFF)[0].id
    for example in examples(DOCUMENT):
        status, told = printed(example.script, environment, tmp_path)
        refused = (example.shown or "").startswith("error:")
        assert bool(status) == refused, f"{example.script}\n{told}"
        assert example.shown is None or agrees(lines(example.shown), lines(told)), f"{example.script}\n{told}"
        if "WRITE" not in environment and "--wait" in example.script:
            card = (tmp_path / "write.txt").read_text()
            for variable, pattern in (("WRITE", r"^(wrt_\w+)"), ("MIS_ID", r"^MIS ids +(\S+)")):
                found = re.search(pattern, card, re.MULTILINE)
                assert found, card
                environment[variable] = found[1]


def test_the_text_has_every_method_and_command() -> None:
    for path in METHOD_ROLES:
        service_name, _, method = path.removeprefix("/schoolgate.v1.").partition("/")
        command = {
            "SubmitWrite": "schoolgate write behaviour",
            "GetWrite": "schoolgate writes get",
            "SetWritePolicy": "schoolgate policy set",
            "GetWritePolicy": "schoolgate policy get",
        }.get(method, f"schoolgate writes {method.removesuffix('Write').removesuffix('Writes').lower()}")
        if service_name == "WritebackService":
            assert command in DOCUMENT, method
