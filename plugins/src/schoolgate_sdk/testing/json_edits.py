"""Edits in JSON form: ``{"op": name of the edit, argument: value, …}``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from typing import Any

from schoolgate_sdk.testing import edits, identity_edits, record_edits
from schoolgate_sdk.testing.errors import EditRefused
from schoolgate_sdk.testing.state import WorldState

_NAMES = ("forename", "surname", "middle_names", "preferred_forename", "preferred_surname")


def _number(value: object) -> int:
    if type(value) is not int:
        raise ValueError("must be an integer")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text")  # noqa: TRY004 - the caller reports one kind of error
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must be Unicode text, without lone surrogates")
    return value


def _day(value: object) -> date:
    try:
        return date.fromisoformat(_text(value))
    except ValueError:
        raise ValueError("must be a date, YYYY-MM-DD") from None


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - the caller reports one kind of error
    return value


def _moment(value: object) -> datetime:
    try:
        found = datetime.fromisoformat(_text(value))
    except ValueError:
        raise ValueError("must be a local date and time, YYYY-MM-DDTHH:MM") from None
    if found.tzinfo is not None or found.second or found.microsecond:
        raise ValueError("must be a local date and time to the minute, without an offset")
    return found


def _session(value: object) -> str:
    if not isinstance(value, str) or value not in {"AM", "PM"}:
        raise ValueError("must be AM or PM")
    return value


@dataclass(frozen=True, slots=True)
class _Op:
    """How one edit reads its arguments and which numbers it answers with."""

    run: Callable[[WorldState, dict[str, Any]], Mapping[str, int]]
    required: Mapping[str, Callable[[object], object]]
    optional: Mapping[str, Callable[[object], object]]


def _join(state: WorldState, given: dict[str, Any]) -> Mapping[str, int]:
    arguments = dict.fromkeys(("on", "year_group", "forename", "surname")) | given
    return {"pupil": edits.join(state, **arguments).number}


def _leave(state: WorldState, given: dict[str, Any]) -> Mapping[str, int]:
    edits.leave(state, given["pupil"], given.get("on"))
    return {"pupil": given["pupil"]}


def _rejoin(state: WorldState, given: dict[str, Any]) -> Mapping[str, int]:
    edits.rejoin(state, given["pupil"], given.get("on"))
    return {"pupil": given["pupil"]}


def _rename(state: WorldState, given: dict[str, Any]) -> Mapping[str, int]:
    pupil = given.pop("pupil")
    return {"pupil": edits.rename(state, pupil, given).number}


def _change_upn(state: WorldState, given: dict[str, Any]) -> Mapping[str, int]:
    return {"pupil": edits.change_upn(state, given["pupil"], given["upn"]).number}


def _move_group(state: WorldState, given: dict[str, Any]) -> Mapping[str, int]:
    edits.move_group(state, given["pupil"], given["from_group"], given["to_group"], given.get("on"))
    return {key: given[key] for key in ("pupil", "from_group", "to_group")}


def _correct_mark(state: WorldState, given: dict[str, Any]) -> Mapping[str, int]:
    comment = given.get("comment")
    edits.correct_mark(state, given["pupil"], given["date"], given["session"], given["code"], comment)
    return {"pupil": given["pupil"]}


def _merge(state: WorldState, given: dict[str, Any]) -> Mapping[str, int]:
    identity_edits.merge(state, given["loser"], given["survivor"])
    return {"loser": given["loser"], "survivor": given["survivor"]}


def _rekey(state: WorldState, given: dict[str, Any]) -> Mapping[str, int]:
    return {"pupil": identity_edits.rekey(state, given["pupil"], given["new_number"]).number}


def _rebuild_timetable(state: WorldState, given: dict[str, Any]) -> Mapping[str, int]:
    edits.rebuild_timetable(state, given.get("on"))
    return {}


def _advance(state: WorldState, given: dict[str, Any]) -> Mapping[str, int]:
    edits.advance(state, given["to"])
    return {}


def _add_contact(state: WorldState, given: dict[str, Any]) -> Mapping[str, int]:
    pupil, relationship = given.pop("pupil"), given.pop("relationship_code")
    return {"contact": record_edits.add_contact(state, pupil, relationship, given).number}


def _change_contact(state: WorldState, given: dict[str, Any]) -> Mapping[str, int]:
    contact = given.pop("contact")
    return {"contact": record_edits.change_contact(state, contact, given).number}


def _link_contact(state: WorldState, given: dict[str, Any]) -> Mapping[str, int]:
    pupil, contact = given.pop("pupil"), given.pop("contact")
    record_edits.link_contact(state, pupil, contact, given)
    return {"pupil": pupil, "contact": contact}


def _unlink_contact(state: WorldState, given: dict[str, Any]) -> Mapping[str, int]:
    record_edits.unlink_contact(state, given["pupil"], given["contact"])
    return {"pupil": given["pupil"], "contact": given["contact"]}


def _record_behaviour(state: WorldState, given: dict[str, Any]) -> Mapping[str, int]:
    pupil, kind, occurred_at = given.pop("pupil"), given.pop("event_type"), given.pop("occurred_at")
    return {"event": record_edits.record_behaviour(state, pupil, kind, occurred_at, given).number}


def _correct_behaviour(state: WorldState, given: dict[str, Any]) -> Mapping[str, int]:
    record_edits.correct_behaviour(state, given["event"], given.get("points"), given.get("comment"))
    return {"event": given["event"]}


def _delete_behaviour(state: WorldState, given: dict[str, Any]) -> Mapping[str, int]:
    record_edits.delete_behaviour(state, given["event"])
    return {"event": given["event"]}


def _record_result(state: WorldState, given: dict[str, Any]) -> Mapping[str, int]:
    pupil, assessment, result = given.pop("pupil"), given.pop("assessment"), given.pop("result")
    return {"result": record_edits.record_result(state, pupil, assessment, result, given).number}


def _record_mark(state: WorldState, given: dict[str, Any]) -> Mapping[str, int]:
    pupil, day, code = given["pupil"], given["date"], given["code"]
    session, period, comment = (given.get(name) for name in ("session", "period", "comment"))
    record_edits.record_mark(state, pupil, day, code, session, period, comment)
    return {"pupil": pupil}


def _withdraw_consent(state: WorldState, given: dict[str, Any]) -> Mapping[str, int]:
    record_edits.withdraw_consent(state, given["pupil"])
    return {"pupil": given["pupil"]}


def _grant_consent(state: WorldState, given: dict[str, Any]) -> Mapping[str, int]:
    record_edits.grant_consent(state, given["pupil"])
    return {"pupil": given["pupil"]}


_CONTACT = ("title", "forename", "surname", "email", "telephone")

OPS = MappingProxyType(
    {
        "join": _Op(_join, {}, {"on": _day, "year_group": _text, "forename": _text, "surname": _text}),
        "leave": _Op(_leave, {"pupil": _number}, {"on": _day}),
        "rejoin": _Op(_rejoin, {"pupil": _number}, {"on": _day}),
        "rename": _Op(_rename, {"pupil": _number}, dict.fromkeys(_NAMES, _text)),
        "change_upn": _Op(_change_upn, {"pupil": _number, "upn": _text}, {}),
        "move_group": _Op(
            _move_group, {"pupil": _number, "from_group": _number, "to_group": _number}, {"on": _day}
        ),
        "correct_mark": _Op(
            _correct_mark,
            {"pupil": _number, "date": _day, "session": _session, "code": _text},
            {"comment": _text},
        ),
        "merge": _Op(_merge, {"loser": _number, "survivor": _number}, {}),
        "rekey": _Op(_rekey, {"pupil": _number, "new_number": _number}, {}),
        "rebuild_timetable": _Op(_rebuild_timetable, {}, {"on": _day}),
        "advance": _Op(_advance, {"to": _day}, {}),
        "add_contact": _Op(
            _add_contact,
            {"pupil": _number, "relationship_code": _text, "surname": _text},
            dict.fromkeys((name for name in _CONTACT if name != "surname"), _text),
        ),
        "change_contact": _Op(_change_contact, {"contact": _number}, dict.fromkeys(_CONTACT, _text)),
        "link_contact": _Op(
            _link_contact,
            {"pupil": _number, "contact": _number},
            {
                "relationship_code": _text,
                "priority": _number,
                "parental_responsibility": _flag,
                "lives_with": _flag,
                "court_order": _flag,
                "correspondence": _flag,
            },
        ),
        "unlink_contact": _Op(_unlink_contact, {"pupil": _number, "contact": _number}, {}),
        "record_behaviour": _Op(
            _record_behaviour,
            {"pupil": _number, "event_type": _number, "occurred_at": _moment},
            {
                "points": _number,
                "staff": _number,
                "group": _number,
                "room": _number,
                "comment": _text,
                "internal_comment": _text,
            },
        ),
        "correct_behaviour": _Op(
            _correct_behaviour, {"event": _number}, {"points": _number, "comment": _text}
        ),
        "delete_behaviour": _Op(_delete_behaviour, {"event": _number}, {}),
        "record_result": _Op(
            _record_result,
            {"pupil": _number, "assessment": _text, "result": _text},
            {"subject": _text, "term": _text, "entered_on": _day, "is_grade": _flag},
        ),
        "record_mark": _Op(
            _record_mark,
            {"pupil": _number, "date": _day, "code": _text},
            {"session": _session, "period": _number, "comment": _text},
        ),
        "withdraw_consent": _Op(_withdraw_consent, {"pupil": _number}, {}),
        "grant_consent": _Op(_grant_consent, {"pupil": _number}, {}),
    }
)
"""Every edit by its name."""


def apply(state: WorldState, edit: Mapping[str, object]) -> dict[str, int]:
    """See ``World.apply``."""
    name = edit.get("op")
    if not isinstance(name, str) or name not in OPS:
        raise EditRefused("edit", "op", f"must be one of: {', '.join(OPS)}")
    op = OPS[name]
    given: dict[str, Any] = {}
    for field, value in edit.items():
        if field == "op":
            continue
        read = op.required.get(field) or op.optional.get(field)
        if read is None:
            raise EditRefused(name, "edit", f"takes only: {', '.join((*op.required, *op.optional))}")
        if value is None and field in op.optional:
            continue
        try:
            given[field] = read(value)
        except ValueError as error:
            raise EditRefused(name, field, str(error)) from None
    for field in op.required:
        if field not in given:
            raise EditRefused(name, field, "is missing")
    return dict(op.run(state, given))
