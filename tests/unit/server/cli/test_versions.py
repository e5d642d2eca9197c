from __future__ import annotations

import json

from schoolgate.v1.query_service_pb2 import (
    FieldChange,
    ListVersionsRequest,
    ListVersionsResponse,
    Version,
)
from schoolgate.v1.record_pb2 import (
    CHANGE_CAUSE_REPROJECTION,
    CHANGE_CAUSE_SOURCE,
    TOMBSTONE_REASON_LEFT,
    KeyPart,
    SourceKey,
)
from tests.unit.server.cli.conftest import Run
from tests.unit.server.cli.fake import FakeServer
from tests.unit.server.cli.test_query import IDS, student


def versions() -> list[Version]:
    """A pupil who was renamed, got a sex and a second key, and left: newest first."""
    made = [
        Version(record=student(0, name, number))
        for name, number in (("Okafor-Featherstone", 3), ("Okafor", 2))
    ]
    made.append(Version(record=student(0, "Reid", 1)))
    newest, middle, oldest = made
    newest.record.tombstone.reason = TOMBSTONE_REASON_LEFT
    newest.changes.append(FieldChange(field="surname", old_value="Okafor", new_value="Okafor-Featherstone"))
    further = SourceKey(namespace="bromcom/person", parts=[KeyPart(integer=9)])
    for version in (newest, middle):
        version.record.source_keys.append(further)
    middle.changes.append(FieldChange(field="sex", new_value="SEX_FEMALE"))
    middle.changes.append(FieldChange(field="surname", old_value="Reid", new_value="Okafor"))
    for version, cause in ((oldest, CHANGE_CAUSE_SOURCE), (middle, CHANGE_CAUSE_REPROJECTION)):
        version.record.cause = cause
        version.record.run_id = f"run_{version.record.version}"
        version.record.committed_at.FromSeconds(1_790_000_000)
    return made


def test_versions_tell_what_changed_and_which_run_did_it(ask: Run, fake: FakeServer) -> None:
    """Values stand one below the other, over all versions."""

    def answer(request: ListVersionsRequest) -> ListVersionsResponse:
        if not request.page_token:
            return ListVersionsResponse(versions=versions()[:2], next_page_token="more")
        return ListVersionsResponse(versions=versions()[2:])

    fake.on("QueryService/ListVersions", answer)
    outcome = ask("versions", "oak", IDS[0])
    assert [line.rstrip() for line in outcome.out.splitlines()] == [
        "version 3  seq 30",
        "    surname  Okafor             →  Okafor-Featherstone",
        "    (state)  live               →  LEFT",
        "version 2  seq 20  2026-09-21 14:13:20  reprojection  run_2",
        "    sex      –                  →  female",
        "    surname  Reid               →  Okafor",
        "    (keys)   bromcom/student:0  →  bromcom/student:0  bromcom/person:9",
        "version 1  seq 10  2026-09-21 14:13:20  source  run_1",
    ]
    cut = ask("versions", "oak", IDS[0], "--limit", "2")
    assert [line.split()[1] for line in cut.out.splitlines() if line.startswith("version")] == ["3", "2"]
    assert "(keys)" in cut.out
    assert "the newest 2" in cut.err


def test_json_is_one_version_per_line(ask: Run, fake: FakeServer) -> None:
    fake.on("QueryService/ListVersions", ListVersionsResponse(versions=versions()))
    outcome = ask("versions", "oak", IDS[0], "--json", "--limit", "2")
    told = [json.loads(line) for line in outcome.out.splitlines()]
    assert [one["record"]["version"] for one in told] == ["3", "2"]
    assert told[1]["changes"][0] == {"field": "sex", "new_value": "SEX_FEMALE"}


def test_values_of_a_mis_cannot_steer_the_terminal(ask: Run, fake: FakeServer) -> None:
    version = Version(
        record=student(0, "Reid"), changes=[FieldChange(field="surname", new_value="R\x1b[2Jd")]
    )
    fake.on("QueryService/ListVersions", ListVersionsResponse(versions=[version]))
    assert "\x1b" not in ask("versions", "oak", IDS[0]).out
