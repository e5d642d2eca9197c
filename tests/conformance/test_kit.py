"""What the kit is made of: comparing by content, waivers, watching parsers, loading, certificate, pytest."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path

import pytest

from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1.groups_pb2 import GroupMembership
from schoolgate.v1.people_pb2 import Student
from schoolgate_sdk import (
    Connector,
    Parsed,
    Ref,
    SchemaChanged,
    SchoolConnection,
    Session,
    SourceKey,
    source_key,
)
from schoolgate_sdk.testing.conformance import command, conformance_tests, kit, loading
from schoolgate_sdk.testing.conformance.comparing import Entity, compare, of_parsed, of_truth
from schoolgate_sdk.testing.conformance.expecting import Expectation
from schoolgate_sdk.testing.conformance.outcome import Check, Outcome
from schoolgate_sdk.testing.conformance.target import (
    ConformanceTarget,
    Waiver,
    hidden,
    shown_as,
    unchecked,
    without_fields,
    without_kind,
)
from schoolgate_sdk.testing.conformance.watching import watched
from schoolgate_sdk.testing.truth import Truth
from schoolgate_sdk.testing.world import World
from tests.conformance.toy import SECRET
from tests.conformance.toy_connector import TARGET, start, toy_connector

WORLD = World.build(seed=3, pupils=20, marks_until=date(2026, 9, 8))


def pupil(number: int, surname: str, forename: str = "Zoë") -> Entity:
    key = source_key("mis/pupil", number)
    return of_parsed(Parsed(k.KIND_STUDENT, key, Student(surname=surname, forename=forename)))


def member(group: int, number: int) -> Entity:
    refs = (Ref("student_id", k.KIND_STUDENT, source_key("mis/pupil", number)),)
    key = source_key("mis/member", group, number)
    return of_parsed(
        Parsed(k.KIND_GROUP_MEMBERSHIP, key, GroupMembership(valid_from=f"2026-09-{group:02}"), refs)
    )


def moved(entity: Entity, by: int) -> Entity:
    """Return an entity under other numbers, as another MIS has it."""

    def other(key: tuple[object, ...]) -> tuple[object, ...]:
        return tuple(part + by if isinstance(part, int) else part for part in key)

    refs = {name: (kind, (key[0], other(key[1]))) for name, (kind, key) in _refs(entity).items()}
    return replace(entity, key=(entity.key[0], other(_parts(entity.key))), refs=refs)


def _parts(key: tuple[object, ...]) -> tuple[object, ...]:
    assert isinstance(key, SourceKey)
    return key.parts


def _refs(entity: Entity) -> dict[str, tuple[k.Kind.ValueType, tuple[object, tuple[object, ...]]]]:
    return {name: (kind, (key[0], _parts(key))) for name, (kind, key) in entity.refs.items()}


SCHOOL = [
    pupil(1, "Reid"),
    pupil(2, "Reid", "Bola"),
    pupil(3, "Ng"),
    member(1, 1),
    member(1, 2),
    member(2, 3),
]


def test_keys_may_be_anything() -> None:
    comparison = compare(SCHOOL, [moved(entity, 700) for entity in SCHOOL[::-1]])
    assert not comparison.differences


def test_one_wrong_value_is_one_difference_that_names_it() -> None:
    arrived = [pupil(1, "Read"), *SCHOOL[1:]]
    [said] = compare(SCHOOL, arrived).of()
    assert "surname is 'Reid', and came as 'Read'" in said


def test_a_reference_to_somebody_else_is_a_difference() -> None:
    [said] = compare(SCHOOL, [*SCHOOL[:5], member(2, 1)]).of([k.KIND_GROUP_MEMBERSHIP])
    assert "student_id is another record" in said


def test_what_is_missing_and_what_is_too_much_is_told() -> None:
    stranger = pupil(9, "Stranger", "Somebody")
    said = compare(SCHOOL, [SCHOOL[0], SCHOOL[1], stranger, *SCHOOL[3:5]]).of([k.KIND_STUDENT])
    assert len(said) == 2
    assert "did not arrive" in said[0]
    assert "is not in the world" in said[1]


def test_twins_that_nothing_tells_apart_are_both_there() -> None:
    twins = [pupil(1, "Reid"), pupil(2, "Reid"), member(1, 1), member(2, 2)]
    assert not compare(twins, [moved(entity, 5) for entity in twins]).differences
    assert compare(twins, twins[1:]).of()


def connector_with(*waivers: Waiver) -> tuple[Connector, ConformanceTarget]:
    target = replace(TARGET, waivers=waivers)
    return replace(toy_connector(), conformance=lambda: target), target


def expected(*waivers: Waiver) -> list[Truth]:
    connector, target = connector_with(*waivers)
    return list(Expectation(connector, target.waivers).truths(WORLD))


def test_waivers_take_away_what_they_say_and_nothing_else() -> None:
    everything = [of_truth(truth) for truth in expected()]
    without = [of_truth(t) for t in expected(without_fields(k.KIND_GROUP, "subject_id", reason="No such."))]
    assert len(without) == len(everything)
    changed = [one for one, other in zip(everything, without, strict=True) if one != other]
    assert {entity.kind for entity in changed} == {k.KIND_GROUP}
    half = expected(hidden(k.KIND_STUDENT, lambda truth, _: int(truth.key[0]) % 2 == 0, reason="Half are."))
    assert sum(1 for truth in half if truth.kind == k.KIND_STUDENT) == 10


def test_a_mis_may_show_several_in_place_of_one() -> None:
    def twice(truth: Truth, _world: World) -> list[Truth]:
        return [truth._replace(key=(*truth.key, place)) for place in (1, 2)]

    rooms = [t for t in expected(shown_as(k.KIND_ROOM, twice, reason="Twice.")) if t.kind == k.KIND_ROOM]
    assert len(rooms) == 2 * len(WORLD.rooms)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: without_kind(k.KIND_ROOM, reason=" "), "needs a reason"),
        (lambda: without_fields(k.KIND_ROOM, reason="None."), "names of the fields"),
        (lambda: ConformanceTarget(start=start, faults=frozenset({"earthquake"})), "no such fault"),
        (lambda: replace(TARGET, further=(TARGET,)), "needs a surface= of its own"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (time.monotonic, "the time"),
        (lambda: datetime.now(UTC), "the time"),
        (date.today, "the time"),
        (lambda: Path(__file__).stat(), "the operating system"),
        (lambda: Path(__file__).read_text(), "a file"),
        (random.random, "a random number"),
    ],
)
def test_what_a_pure_function_does_not_ask_for_is_seen(ask: Callable[[], object], what: str) -> None:
    with watched() as seen:
        ask()
    assert what in seen()


def test_computing_is_pure() -> None:
    with watched() as seen:
        date.fromisoformat("2026-09-01").isoformat().upper()
        sorted({3, 1, 2})
        Student(surname="Reid").SerializeToString()
    assert not seen()


def test_a_connector_that_is_not_there_is_named_with_what_is() -> None:
    with pytest.raises(
        loading.NoSuchConnector, match=r"no connector 'nobody' is installed \(there are: .*bromcom"
    ):
        loading.load("nobody")
    assert loading.load("bromcom").name == "bromcom"


def test_the_certificate_says_what_was_proven_and_with_what() -> None:
    connector, _ = connector_with(unchecked("description.order", reason="There is no order."))
    connector = replace(connector, datasets=connector.datasets[::-1])
    out = StringIO()
    found = command.check_connector(
        connector, only="description.*", out=out, now=lambda: datetime(2026, 11, 26, tzinfo=UTC)
    )
    assert found["issued_at"] == "2026-11-26T00:00:00+00:00"
    assert (found["certified"], found["complete"]) == (False, False)
    assert found["counts"] == {"proven": 3, "waived": 1, "not applicable": 0, "failed": 0}
    checks = found["checks"]
    assert isinstance(checks, list)
    assert {
        "surface": "",
        "id": "description.order",
        "says": kit.check_named("description.order").says,
        "outcome": "waived",
        "detail": "There is no order.",
    } in checks
    assert "waived          description.order" in out.getvalue()


def test_the_certificate_repeats_the_reason_of_every_waiver() -> None:
    """Seen to fail where those of fields, of what is hidden and of what is shown otherwise were not there."""
    waivers = (
        without_fields(k.KIND_GROUP, "subject_id", reason="No such column."),
        hidden(k.KIND_GROUP, lambda truth, _: int(truth.key[0]) % 2 == 0, reason="Half are."),
        shown_as(k.KIND_GROUP, lambda truth, _: truth, reason="All the same."),
        without_kind(k.KIND_ROOM, reason="No rooms."),
        unchecked("wire.late", reason="Never late."),
    )
    connector, _ = connector_with(*waivers)
    found = command.check_connector(connector, only="description.fields")
    said = found["waivers"]
    assert isinstance(said, list)
    assert said == [
        {"surface": "", "kind": "group", "waived": "without subject_id", "reason": "No such column."},
        {"surface": "", "kind": "group", "waived": "some are not shown", "reason": "Half are."},
        {"surface": "", "kind": "group", "waived": "some are shown otherwise", "reason": "All the same."},
        {"surface": "", "kind": "room", "waived": "not given", "reason": "No rooms."},
        {"surface": "", "waived": "wire.late", "reason": "Never late."},
    ]


def test_a_kind_that_arrives_but_for_a_waiver_says_so_with_the_reason() -> None:
    connector, _ = connector_with(
        hidden(k.KIND_ROOM, lambda _truth, _world: False, reason="Some are secret.")
    )
    [bench] = kit.benches(connector)
    result = kit.run_check(bench, kit.check_named("arrives.room"))
    assert result.outcome is Outcome.PROVEN
    assert result.detail.endswith(" as in the world; some are not shown (Some are secret.)")


def test_pytest_is_told_what_to_do_next() -> None:
    connector, target = connector_with(unchecked("description.order", reason="Not today."))
    connector = replace(connector, datasets=connector.datasets[::-1])
    test = conformance_tests(replace(connector, version="unreleased"))
    [bench] = kit.benches(replace(connector, version="unreleased", conformance=lambda: target))
    with pytest.raises(pytest.fail.Exception, match=r"Next: use importlib\.metadata\.version"):
        test(bench, kit.check_named("description.versions"))
    with pytest.raises(pytest.skip.Exception, match="waived: Not today"):
        test(bench, kit.check_named("description.order"))
    test(bench, kit.check_named("description.fields"))


def test_a_waiver_of_a_check_that_holds_is_not_needed() -> None:
    connector, _ = connector_with(unchecked("parser.pure", reason="Not today."))
    [bench] = kit.benches(connector)
    result = kit.run_check(bench, kit.check_named("parser.pure"))
    assert (result.outcome, result.next_step) == (Outcome.FAILED, "remove the waiver")


def test_a_waiver_of_a_check_that_has_nothing_to_look_at_is_not_needed() -> None:
    """Seen to fail where it was taken for a waiver like any other."""
    connector, _ = connector_with(unchecked("write.record_attendance_mark.effect", reason="Not today."))
    [bench] = kit.benches(replace(connector, writes=()))
    result = kit.run_check(bench, kit.check_named("write.record_attendance_mark.effect"))
    assert (result.outcome, result.next_step) == (Outcome.FAILED, "remove the waiver")
    assert "there is nothing to waive: the connector does not write it" in result.detail


def test_what_breaks_elsewhere_is_a_failure_with_its_place() -> None:
    async def breaking(_bench: object) -> str:
        raise ZeroDivisionError("of the simulator")

    [bench] = kit.benches(toy_connector())
    result = kit.run_check(bench, Check("x.y", "…", breaking))
    assert result.outcome is Outcome.FAILED
    assert result.detail == "ZeroDivisionError: of the simulator"
    assert "test_kit.py" in result.next_step


def test_neither_pytest_nor_a_web_framework_is_imported_by_the_kit() -> None:
    code = (
        "import sys, schoolgate_sdk.testing.conformance.command, schoolgate_sdk.testing.new\n"
        "print(sorted({'pytest', 'aiohttp'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("error", [RuntimeError, SchemaChanged])
def test_g16_what_a_connector_says_in_its_errors_is_shown_without_its_credentials(
    error: type[Exception],
) -> None:
    """Seen to fail where errors' texts were taken over as they are: they go into the certificate."""

    def broken(connection: SchoolConnection) -> AbstractAsyncContextManager[Session]:
        raise error(f"GET /students?key={connection.credentials['secret']}")

    [bench] = kit.benches(replace(toy_connector(), open=broken))
    shown = ""
    for check in ("arrives.student", "wire.reset", "credentials.refused", "secrecy.texts"):
        result = kit.run_check(bench, kit.check_named(check))
        assert result.outcome is Outcome.FAILED
        shown += result.detail + result.next_step
    assert "GET /students?key=[secret]" in shown
    assert SECRET not in shown
