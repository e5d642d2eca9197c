"""What a school's registration says for writing assessment results, where public sources do not.

The arguments of a save are public; the name of the operation that takes them is not, nor is any entity with
the ids of assessments, terms and year groups, for which rows have names. So a school, or whoever knows its
Bromcom, writes them down; without them nothing is written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from typing import Any, Final, NamedTuple, cast

import orjson

from schoolgate_bromcom.written import LARGEST_ID
from schoolgate_sdk import FieldSpec, Identity, Unsupported, setting_values

_WRITE_URL: Final = "https://cloudmis.bromcom.com/Nucleus/WebServices/ThirdParty/TPWriteDataService.asmx"
_OPERATION: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}", re.ASCII)
_MOST_NAMES: Final = 5_000

RESULT_SETTINGS: Final = (
    FieldSpec(
        "soap_write_url",
        "where the SOAP services for writing are",
        default=_WRITE_URL,
        endpoint=True,
        scope=False,
        identity=Identity.SCHOOL,
    ),
    FieldSpec(
        "result_write_operation",
        "the operation of the SOAP services that saves an assessment result; empty: none is written",
        scope=False,
    ),
    FieldSpec(
        "result_assessment_types",
        'assessmentTypeID by assessmentTypeName, as a JSON object: {"Reading age": 7}',
        scope=False,
    ),
    FieldSpec(
        "result_terms",
        "termID by termName, with the first day and the day after the last, as a JSON object: "
        '{"Autumn": {"id": 3, "from": "2026-09-01", "to": "2027-01-01"}}; which is meant goes by the date',
        scope=False,
    ),
    FieldSpec(
        "result_year_groups",
        'yearGroupID by the name of the year group, as a JSON object: {"Year 7": 7}',
        scope=False,
    ),
    FieldSpec(
        "result_subject_id_is_subject_id",
        '"yes" where subjectID of a saved result equals the id of Subjects; else none is written',
        default="no",
        scope=False,
    ),
)
"""Every setting about writing results."""


class Term(NamedTuple):
    """A term under its name; the days are half-open."""

    name: str
    number: int
    first: date
    end: date


@dataclass(frozen=True, slots=True)
class ResultSettings:
    """The settings of one school about writing results, checked. ``operation`` is empty where none is."""

    url: str
    operation: str
    assessment_types: Mapping[str, int] = field(default_factory=dict[str, int])
    terms: tuple[Term, ...] = ()
    year_groups: Mapping[str, int] = field(default_factory=dict[str, int])
    knows_subjects: bool = False

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> ResultSettings:
        """Return ``given`` as typed values.

        Raises:
            Unsupported: a setting is malformed, or terms overlap; the message names it.
        """
        values = {spec.name: given.get(spec.name) or spec.default for spec in RESULT_SETTINGS}
        operation = values["result_write_operation"]
        if operation and not _OPERATION.fullmatch(operation):
            raise Unsupported("setting result_write_operation must be the name of an operation")
        return cls(
            url=setting_values.address(values, "soap_write_url", plain_http=given.get("plain_http") == "yes"),
            operation=operation,
            assessment_types=_ids(values, "result_assessment_types"),
            terms=_terms(values, "result_terms"),
            year_groups=_ids(values, "result_year_groups"),
            knows_subjects=setting_values.choice(values, "result_subject_id_is_subject_id", "yes", "no")
            == "yes",
        )

    def term_of(self, day: date) -> Term | None:
        """Return the term that ``day`` is in."""
        return next((term for term in self.terms if term.first <= day < term.end), None)


def _object(values: Mapping[str, str], name: str) -> dict[str, Any]:
    """Return the setting as an object by trimmed, unblank names."""
    if not values[name].strip():
        return {}
    try:
        found: Any = orjson.loads(values[name])
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict) or len(cast("dict[str, Any]", found)) > _MOST_NAMES:
        raise _malformed(name)
    named = {key.strip(): value for key, value in cast("dict[str, Any]", found).items()}
    if "" in named or len(named) < len(cast("dict[str, Any]", found)):
        raise _malformed(name)
    return named


def _ids(values: Mapping[str, str], name: str) -> dict[str, int]:
    return {key: _id(value, name) for key, value in _object(values, name).items()}


def _id(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= LARGEST_ID:
        raise _malformed(name)
    return value


def _terms(values: Mapping[str, str], name: str) -> tuple[Term, ...]:
    found: list[Term] = []
    for key, value in _object(values, name).items():
        match value:
            case {"id": number, "from": str(first), "to": str(end)}:
                found.append(Term(key, _id(number, name), _day(first, name), _day(end, name)))
            case _:
                raise _malformed(name)
    found.sort(key=lambda term: term.first)
    if any(term.first >= term.end for term in found) or any(
        before.end > after.first for before, after in pairwise(found)
    ):
        raise Unsupported(f"setting {name} must have terms of a day at least that do not overlap")
    return tuple(found)


def _day(text: str, name: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise _malformed(name) from None


def _malformed(name: str) -> Unsupported:
    spec = next(each for each in RESULT_SETTINGS if each.name == name)
    return Unsupported(f"setting {name} is not what it should be: {spec.description}")
