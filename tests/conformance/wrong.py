"""Connectors that are each wrong in one way: for every check, one that it finds out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import count

from schoolgate.v1 import kind_pb2 as k
from schoolgate.v1.attendance_pb2 import AttendanceMark
from schoolgate_sdk import (
    KINDS,
    Connector,
    Dataset,
    FieldSpec,
    Parsed,
    Parser,
    Row,
)
from schoolgate_sdk.testing.conformance import kit
from schoolgate_sdk.testing.conformance.editing import EDITS
from schoolgate_sdk.testing.conformance.target import Waiver, without_fields
from tests.conformance import wrong_sessions as sessions
from tests.conformance import wrong_writes as writes
from tests.conformance.toy import name_of
from tests.conformance.toy_connector import TARGET, ToySession, opening, toy_connector

Wrong = Callable[[], Connector]


def with_session(session: type[ToySession]) -> Connector:
    return replace(toy_connector(), open=opening(session))


def with_parser(kind: k.Kind.ValueType, change: Callable[[Parser], Parser]) -> Connector:
    def changed(dataset: Dataset) -> Dataset:
        if dataset.name != name_of(kind):
            return dataset
        return replace(dataset, parser=change(dataset.parser))

    toy = toy_connector()
    return replace(toy, datasets=tuple(changed(dataset) for dataset in toy.datasets))


def with_waiver(waiver: Waiver) -> Connector:
    target = replace(TARGET, waivers=(waiver,))
    return replace(toy_connector(), conformance=lambda: target)


def each_parsed(change: Callable[[Parsed], Parsed]) -> Callable[[Parser], Parser]:
    """Return what changes all that a parser yields."""

    def told(honest: Parser) -> Parser:
        def parse(row: Row, settings: Mapping[str, str], /) -> list[Parsed]:
            return [change(parsed) for parsed in honest(row, settings)]

        return parse

    return told


# --- what is described and parsed ---------------------------------------------------------------------


def _losing_a_field(parsed: Parsed) -> Parsed:
    """Leave out one field: the surname, or whatever comes first."""
    message = type(parsed.message)()
    message.CopyFrom(parsed.message)
    fields = [field.name for field, _ in message.ListFields()]
    if fields:
        message.ClearField("surname" if "surname" in fields else fields[0])
        return parsed._replace(message=message)
    return parsed._replace(refs=parsed.refs[1:])


def _asking_the_time(honest: Parser) -> Parser:
    def parse(row: Row, settings: Mapping[str, str], /) -> list[Parsed]:
        time.monotonic()
        return list(honest(row, settings))

    return parse


def _counting(honest: Parser) -> Parser:
    number = count()

    def parse(row: Row, settings: Mapping[str, str], /) -> list[Parsed]:
        return list(honest(row, settings)) * (1 + next(number) % 2)

    return parse


def _breaking_off(honest: Parser) -> Parser:
    def parse(row: Row, settings: Mapping[str, str], /) -> list[Parsed]:
        return list(honest({**row, "key": row["key"]}, settings))

    return parse


def _by_surname(parsed: Parsed) -> Parsed:
    return parsed._replace(key=parsed.key._replace(parts=(getattr(parsed.message, "surname", "x"),)))


def _by_number_and_upn(parsed: Parsed) -> Parsed:
    parts = (*parsed.key.parts, f"upn {getattr(parsed.message, 'upn', '')}")
    return parsed._replace(key=parsed.key._replace(parts=parts))


def _with_whole_code(parsed: Parsed) -> Parsed:
    """Take a code with its subcode for a code."""
    message = parsed.message
    assert isinstance(message, AttendanceMark)
    whole = AttendanceMark()
    whole.CopyFrom(message)
    whole.code += message.subcode
    whole.ClearField("subcode")
    return parsed._replace(message=whole)


def _referring_to_nobody(parsed: Parsed) -> Parsed:
    ref, *others = parsed.refs
    return parsed._replace(refs=(ref._replace(key=ref.key._replace(parts=(999_999,))), *others))


def backwards() -> Connector:
    toy = toy_connector()
    return replace(toy, datasets=toy.datasets[::-1])


def each_wrong() -> Iterator[tuple[str, Wrong]]:
    """Yield every check's id, some several times, each with a connector that is wrong in what it looks at."""
    yield from _ALONE.items()
    yield from ((check, partial(with_session, session)) for check, session in _FURTHER)
    for info in KINDS.values():
        yield f"arrives.{info.name}", partial(with_parser, info.kind, each_parsed(_losing_a_field))
    for edit in EDITS:
        if edit.name != "rekey":  # what is stale as a whole has the same content under the old numbers
            yield f"edit.{edit.name}", lambda: with_session(sessions.Stale)
    yield "edit.everything", lambda: with_session(sessions.Stale)
    yield "edit.rekey", lambda: with_session(sessions.StaleMemberships)
    for check in kit.CHECKS:
        family, _, rest = check.id.partition(".")
        if family == "wire" and check.id not in _ALONE:
            yield check.id, lambda: with_session(sessions.Untyped)
        elif family == "write":
            yield check.id, partial(with_session, _WRITES[rest.partition(".")[2]])


_WRITES: dict[str, type[ToySession]] = {
    "effect": writes.WritesNothing,
    "lost_answer": writes.Retries,
    "no_effect": writes.Retries,
    "twice": writes.TwoEffects,
    "refused": writes.NeverRefused,
    "announced": writes.NeverAsks,
    "stopped": writes.AsksTooLate,
}

_FURTHER: tuple[tuple[str, type[ToySession]], ...] = (
    ("reading.resume", sessions.ResumedWithoutEnd),
    ("reading.resume", sessions.ResumedUnproven),
    ("reading.resume", sessions.ResumedUncounted),
    ("reading.resume", sessions.ResumedWithANewPosition),
    ("wire.other_school", sessions.LosesDoubles),
    ("wire.other_school", sessions.Crashing),
    ("wire.mark_change", sessions.Crashing),
    *(
        (f"write.record_attendance_mark.{name}", writes.QuotesWhatItWrites)
        for name in ("lost_answer", "no_effect", "refused")
    ),
    ("write.record_attendance_mark.effect", writes.TellsOtherKeys),
    ("write.record_behaviour_event.lost_answer", writes.TellsOtherKeys),
    *(
        ("write.record_behaviour_event.announced", session)
        for session in (
            writes.AsksTwice,
            writes.AsksTooLate,
            writes.ShowsItsSecret,
            writes.ShowsNoTarget,
        )
    ),
    *(
        ("write.record_behaviour_event.stopped", session)
        for session in (writes.NeverAsks, writes.GoesOn, writes.MistakesAStop)
    ),
)
"""Further ways to be wrong in what a check looks at."""

_ALONE: dict[str, Wrong] = {
    "description.fields": lambda: replace(
        toy_connector(), settings=(FieldSpec("base_url", "Where the MIS is.", required=True),)
    ),
    "description.versions": lambda: replace(toy_connector(), version="unreleased"),
    "description.order": backwards,
    "description.capabilities": lambda: replace(toy_connector(), capabilities=frozenset({"count"})),
    "arrives.references": lambda: with_parser(k.KIND_ENROLMENT, each_parsed(_referring_to_nobody)),
    "arrives.deletions": lambda: with_session(sessions.KeepsDeleted),
    "arrives.window": lambda: with_session(sessions.OneDayMore),
    "waivers.needed": lambda: with_waiver(
        without_fields(k.KIND_ROOM, "description", reason="There is no such field.")
    ),
    "parser.pure": lambda: with_parser(k.KIND_STUDENT, _asking_the_time),
    "parser.deterministic": lambda: with_parser(k.KIND_STUDENT, _counting),
    "parser.refuses": lambda: with_parser(k.KIND_STUDENT, _breaking_off),
    "keys.structural": lambda: with_parser(k.KIND_STAFF, each_parsed(_by_surname)),
    "keys.stable": lambda: with_parser(k.KIND_STUDENT, each_parsed(_by_number_and_upn)),
    "reading.pages": lambda: with_session(sessions.RowsAsGenerator),
    "reading.resume": lambda: with_session(sessions.TooFar),
    "reading.stray_cursor": lambda: with_session(sessions.TrustsCursors),
    "reading.count": lambda: with_session(sessions.CountsOneMore),
    "reading.read_back": lambda: with_session(sessions.ReadsAllBack),
    "reading.moved_under": lambda: with_session(sessions.LosesRows),
    "reading.memory": lambda: with_session(sessions.CollectsFirst),
    "changes.follow": lambda: with_session(sessions.ForgetsChanges),
    "changes.deletions": lambda: with_session(sessions.ForgetsDeletions),
    "changes.expired": lambda: with_session(sessions.AnyPosition),
    "grants.states": lambda: with_session(sessions.GrantsAll),
    "grants.revoked": lambda: with_session(sessions.NoneIsNothing),
    "grants.revoked_mid_read": lambda: with_session(sessions.DeniesLate),
    "credentials.refused": lambda: with_session(sessions.AnySecret),
    "secrecy.texts": lambda: with_session(sessions.Telling),
    "wire.slow": lambda: with_session(sessions.GivesUp),
    "wire.rate_limit": lambda: with_session(sessions.GivesUp),
    "wire.registration_hour": lambda: with_session(sessions.GivesUp),
    "wire.expire_credentials": lambda: with_session(sessions.GivesUp),
    "wire.truncate_page": lambda: with_session(sessions.AlwaysProven),
    "wire.duplicate_rows": lambda: with_session(sessions.LosesDoubles),
    "wire.loop_page": lambda: with_session(sessions.LosesDoubles),
    "wire.other_school": lambda: with_session(sessions.AnySchool),
    "wire.mark_change": lambda: with_parser(k.KIND_ATTENDANCE_MARK, each_parsed(_with_whole_code)),
    "wire.padded_rows": lambda: with_session(sessions.Unpadded),
    "pacing.traffic": lambda: with_session(sessions.Impolite),
    "pacing.pause": lambda: with_session(sessions.NoPause),
    "pacing.shared": lambda: with_session(sessions.Impolite),
}
