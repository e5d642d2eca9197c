"""docs/query.md: every example is run as it stands there, and what it prints is what the text shows.

The school is synthetic, and ids of records follow from its keys, so that they stand in the text as they are.
The school's days are those of the text. When schoolgate knew what cannot be March 2026 by the clock, so times
of commits are set back in MongoDB, where questions as of a time find them.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schoolgate.v1 import identity_service_pb2 as identities
from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1 import sync_service_pb2 as sync
from schoolgate.v1.identity_service_pb2_grpc import IdentityServiceStub
from schoolgate.v1.school_service_pb2 import AcademicYearSpan
from schoolgate_sdk.kinds import KINDS, KindInfo
from schoolgate_server.model.questions import GROWING, INDEXED_REFERENCES, day_field
from schoolgate_server.rpc import expansion, filters, query, selection
from tests.e2e.conftest import ROOT, Service, service
from tests.support.examples import LEFT_OUT, Example, examples, printed, shell
from tests.support.live import Live, key_parts, live
from tests.support.served import new_request_id
from tests.support.simulator import Simulator, start_simulator

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(400)]

DOCUMENT = (ROOT / "docs" / "query.md").read_text()
WORLD = (
    "--seed",
    "5",
    "--pupils",
    "40",
    "--academic-year-start",
    "2025-09-01",
    "--marks-until",
    "2026-03-14",
)
YEAR = AcademicYearSpan(name="2025/26", valid_from="2025-09-01", valid_to="2026-09-01")
BEFORE = datetime(2026, 9, 1, tzinfo=UTC)
"""Later than every time of the text, earlier than any at which this runs."""

MASKS = (
    (r"run_[0-9a-f]{32}", "RUN"),
    (r"2\d{3}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r"2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME"),
    (r'(next_page_token": )"[^"]+"', r"\1TOKEN"),
)
"""Ids of runs, times of commits and page tokens are others each time; everything else is compared."""


def lines(text: str) -> list[str]:
    for pattern, name in MASKS:
        text = re.sub(pattern, name, text)
    return [line.rstrip() for line in text.strip().splitlines()]


def agrees(shown: Iterable[str], told: list[str]) -> bool:
    """Whether ``told`` is what is shown, where a line of ``…`` stands for any lines."""
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == LEFT_OUT else re.escape(line) + r"\n" for line in shown
    )
    return bool(re.fullmatch(pattern, "".join(f"{line}\n" for line in told)))


@pytest.fixture(scope="module")
def simulated() -> Generator[Simulator]:
    with start_simulator(*WORLD) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, simulated: Simulator) -> Generator[Service]:
    """The school of the text, with a service of its own: other examples register a school called oak, too."""
    with service(tmp_path_factory.mktemp("asked"), {}) as running:
        with live(running.target, running.log.parent / "data") as oak:
            live_through_march(oak, simulated)
        yield running


def live_through_march(oak: Live, simulated: Simulator) -> None:
    """Read the school three times, and let happen in between what the text tells."""
    everything = [f"{info.name}.*" for info in KINDS.values()]
    oak.register("oak", simulated, academic_year=YEAR, data_profile=everything)
    _sync(oak, 9)
    groups = {
        record.group.name: key_parts(record, "bromcom/collection")[0]
        for record in oak.records("oak", kinds.KIND_GROUP)
    }
    moved = {"from_group": groups["7Ma1"], "to_group": groups["8Ma1"]}
    simulated.edit({"op": "move_group", "pupil": 1, **moved, "on": "2026-03-02"})
    _sync(oak, 12)
    mark = {"date": "2026-03-03", "session": "AM", "code": "L"}
    simulated.edit({"op": "correct_mark", "pupil": 1, **mark, "comment": "Bus was late"})
    simulated.edit({"op": "rename", "pupil": 1, "surname": "Lewis-Okafor"})
    simulated.edit({"op": "leave", "pupil": 3, "on": "2026-03-13"})
    _sync(oak, 16)
    contacts = oak.query.QueryRecords(
        q.QueryRecordsRequest(
            school_id="oak",
            kind=kinds.KIND_CONTACT,
            filters=[
                q.Filter(field="full_name", operator=q.FILTER_OPERATOR_EQUAL, values=["Ms Siân Hughes"])
            ],
        )
    )
    survivor, merged, *_ = [record.id for page in contacts for record in page.records]
    request = identities.MergeRecordsRequest(
        school_id="oak", survivor_id=survivor, merged_id=merged, request_id=new_request_id()
    )
    run = IdentityServiceStub(oak.channel).MergeRecords(request).run
    for state in oak.runs.WatchRun(sync.WatchRunRequest(school_id="oak", run_id=run.run_id)):
        run = state.run
    assert run.state == sync.RUN_STATE_SUCCEEDED
    _set_back(oak, 17)


def _sync(oak: Live, day: int) -> None:
    assert oak.sync("oak").state in {sync.RUN_STATE_SUCCEEDED, sync.RUN_STATE_PARTIAL}
    _set_back(oak, day)


def _set_back(oak: Live, day: int) -> None:
    """Let what was committed since be of this day of March 2026, six in the morning."""
    at = datetime(2026, 3, day, 6, tzinfo=UTC)
    oak.database["commits"].update_many({"school": "oak", "at": {"$gt": BEFORE}}, {"$set": {"at": at}})
    oak.database["heads"].update_one({"_id": "oak"}, {"$set": {"published_at": at}})


@pytest.mark.parametrize(
    "example", examples(DOCUMENT), ids=lambda example: example.script.split("\n")[0][:60]
)
def test_the_examples_print_what_the_text_shows(
    asked: Service, grpcurl_path: str, tmp_path: Path, example: Example
) -> None:
    status, told = printed(example.script, shell(asked.target, grpcurl_path), tmp_path)
    refused = re.match(r"(ERROR|error):", (example.shown or "").strip())
    assert bool(status) == bool(refused), told
    assert example.shown is None or agrees(lines(example.shown), lines(told)), told


def test_the_text_has_examples_of_every_method_and_command() -> None:
    scripts = "\n".join(example.script for example in examples(DOCUMENT))
    for method in ("GetRecord", "QueryRecords", "CountRecords", "ListVersions"):
        assert f"QueryService/{method}" in scripts
    for command in ("get", "query", "count", "versions"):
        assert re.search(rf"^schoolgate {command} oak", scripts, re.MULTILINE)
    # What stands as code of another form would not be run.
    assert not re.search(
        r"^    \S", re.sub(r"^```.*?^```", "", DOCUMENT, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )


def table(head: str) -> dict[str, list[str]]:
    """Return the rows below a table's head, by their first cell, without the marks of code."""
    rows = DOCUMENT.partition(f"\n{head}\n")[2].splitlines()[1:]
    found: dict[str, list[str]] = {}
    for row in rows:
        if not row.startswith("|"):
            break
        name, *cells = (cell.strip().replace("`", "") for cell in row.strip("|").split("|"))
        found[name] = cells
    return found


FIELDS_HEAD = "| kind | ordered: all operators | not ordered: equal, in, present | dates |"


def allowed(info: KindInfo) -> list[str]:
    """Return what the server allows of a kind: ordered fields, others, and those that are dates."""
    offered = filters.filterable(info)
    ordered = [
        name for name, field in offered.items() if q.FILTER_OPERATOR_LESS in filters.operators_for(field)
    ]
    others = [name for name in offered if name not in ordered]
    dates = [name for name, field in offered.items() if filters.is_date_field(field) or name == info.on]
    assert all(
        filters.operators_for(offered[name])
        >= {q.FILTER_OPERATOR_EQUAL, q.FILTER_OPERATOR_IN, q.FILTER_OPERATOR_PRESENT}
        for name in offered
    )
    return [", ".join(names) for names in (ordered, others, dates)]


def test_the_table_of_fields_is_what_the_server_allows() -> None:
    assert table(FIELDS_HEAD) == {info.name: allowed(info) for info in KINDS.values()}


def test_the_table_of_growing_kinds_is_what_the_server_requires() -> None:
    required = {
        info.name: [
            ", ".join(
                [name for name in INDEXED_REFERENCES if name in info.message.DESCRIPTOR.fields_by_name]
                + [str(day_field(info))]
            )
        ]
        for info in KINDS.values()
        if info.kind in GROWING
    }
    assert table("| kind | at least one of |") == required


def test_the_limits_are_the_servers() -> None:
    assert {name: cells[0] for name, cells in table("| limit | at most |").items()} == {
        "records per response (page_size)": "5,000",
        "filters": f"{filters.MOST_FILTERS:,}",
        "values of IN": f"{filters.MOST_VALUES:,}",
        "characters of a value": f"{filters.LONGEST_VALUE:,}",
        "ids and source_keys together": f"{selection.MOST_NAMED:,}",
        "fields of order_by, of group_by": f"{selection.MOST_FIELDS:,}",
        "groups of a count": f"{query.MOST_GROUPS:,}",
        "steps of expand, and how deep": f"{expansion.MOST_STEPS}, {expansion.DEEPEST}",
        "related records of one page": f"{expansion.MOST_RELATED:,}",
        "related records of one stream": f"{expansion.MOST_SENT:,}",
        "seconds of one stream": f"{query.LONGEST_S:,}",
    }
