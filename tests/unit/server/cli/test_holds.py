from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from schoolgate.v1.sync_service_pb2 import Hold, ListHoldsResponse, ResolveHoldRequest, ResolveHoldResponse
from tests.unit.server.cli.conftest import Run
from tests.unit.server.cli.fake import FakeServer, refusal

DIGEST = "0123456789abcdef" * 4
HOLD = "hld_0123456789abcdef0123456789abcdef"


def hold_of(dataset: str = "students", *, approved: bool = False) -> Hold:
    hold = Hold(
        hold_id=HOLD,
        school_id="oak",
        run_id="run_7",
        dataset=dataset,
        digest=DIGEST,
        updates=1200,
        live_records=1500,
        explanation="1200 of 1500 student records (80%) changed at once",
    )
    hold.created_at.FromJsonString("2026-09-01T06:00:00Z")
    if approved:
        hold.approved_at.FromJsonString("2026-09-01T07:00:00Z")
        hold.approved_by = "office"
    return hold


@pytest.mark.parametrize("columns", ["80", "100", "240"])
def test_a_hold_is_shown_with_its_digest_on_one_line(
    ask: Run, fake: FakeServer, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    fake.on("SyncService/ListHolds", ListHoldsResponse(holds=[hold_of()]))
    outcome = ask("holds", "oak")
    assert outcome.status == 0
    assert [line.split() for line in outcome.out.splitlines()] == [
        ["hold", HOLD],
        ["dataset", "students"],
        ["deletions", "0"],
        ["updates", "1,200"],
        ["live", "1,500"],
        ["since", "2026-09-01", "06:00:00"],
        ["run", "run_7"],
        ["approved", "no"],
        ["because", *hold_of().explanation.split()],
        ["digest", DIGEST],
    ]
    assert "schoolgate resolve-hold oak" in outcome.err


def test_an_approved_hold_waits_for_a_sync(ask: Run, fake: FakeServer) -> None:
    fake.on("SyncService/ListHolds", ListHoldsResponse(holds=[hold_of(approved=True)]))
    outcome = ask("holds", "oak")
    assert "2026-09-01 07:00:00 by office" in outcome.out
    assert outcome.err == "next: schoolgate sync oak\n"


def test_all_pages_are_listed_and_json_has_one_object_per_line(ask: Run, fake: FakeServer) -> None:
    def pages(request: Any) -> ListHoldsResponse:
        if not request.page_token:
            return ListHoldsResponse(holds=[hold_of()], next_page_token="more")
        assert request.page_token == "more"
        return ListHoldsResponse(holds=[hold_of("groups", approved=True)])

    fake.on("SyncService/ListHolds", pages)
    first, second = map(json.loads, ask("holds", "oak", "--json").out.splitlines())
    assert (first["dataset"], first["digest"], first["updates"]) == ("students", DIGEST, "1200")
    assert (second["dataset"], second["approved_by"]) == ("groups", "office")
    assert ask("holds", "oak").out.count(DIGEST) == 2


def test_nothing_held(ask: Run, fake: FakeServer) -> None:
    fake.on("SyncService/ListHolds", ListHoldsResponse())
    outcome = ask("holds", "oak")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "nothing is held\n")
    assert ask("holds", "oak", "--json").out == ""


@pytest.mark.parametrize(
    ("option", "resolution", "told", "next_step"),
    [
        ("--approve", ResolveHoldRequest.RESOLUTION_APPROVE, "approved", "schoolgate sync oak"),
        ("--discard", ResolveHoldRequest.RESOLUTION_DISCARD, "discarded", "decides anew"),
    ],
)
def test_resolving(
    ask: Run, fake: FakeServer, option: str, resolution: int, told: str, next_step: str
) -> None:
    fake.on("SyncService/ResolveHold", ResolveHoldResponse(hold=hold_of()))
    outcome = ask("resolve-hold", "oak", HOLD, "--digest", DIGEST, option, "--comment", "new year")
    assert (outcome.status, outcome.out) == (0, f"{HOLD} {told}\n")
    assert next_step in outcome.err
    (request,) = fake.requests
    assert (request.school_id, request.hold_id, request.digest) == ("oak", HOLD, DIGEST)
    assert (request.resolution, request.comment) == (resolution, "new year")
    assert len(request.request_id) == 36


@pytest.mark.parametrize(
    "options",
    [
        ("--digest", DIGEST),
        ("--digest", DIGEST, "--approve", "--discard"),
        ("--approve",),
    ],
)
def test_a_decision_that_is_not_clear_is_a_usage_error(
    ask: Run, fake: FakeServer, options: tuple[str, ...]
) -> None:
    assert ask("resolve-hold", "oak", HOLD, *options).status == 2
    assert fake.requests == []


def test_another_change_set_is_refused_with_the_next_step(ask: Run, fake: FakeServer) -> None:
    def refuse(_: object) -> ResolveHoldResponse:
        raise refusal(
            grpc.StatusCode.ABORTED, "HOLD_DIGEST_MISMATCH", "look again", school_id="oak", hold_id=HOLD
        )

    fake.on("SyncService/ResolveHold", refuse)
    outcome = ask("resolve-hold", "oak", HOLD, "--digest", "another", "--approve")
    assert outcome.status == 1
    assert "`schoolgate holds oak` shows what the hold is over now" in outcome.err
