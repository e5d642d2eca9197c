from __future__ import annotations

import pytest
from google.rpc.error_details_pb2 import BadRequest

from schoolgate.v1 import error_reason_pb2 as r
from schoolgate.v1 import kind_pb2 as kinds
from schoolgate.v1 import query_service_pb2 as q
from schoolgate_sdk import KINDS, KindInfo, kind_info
from schoolgate_server.model.checks import is_iso_date
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.questions import Condition, Value
from schoolgate_server.rpc.checks import Violations, echo
from schoolgate_server.rpc.errors import rich_status
from schoolgate_server.rpc.filters import conditions_from, filterable, is_date_field, operators_for

STUDENT = kind_info(kinds.KIND_STUDENT)
PERIOD = kind_info(kinds.KIND_PERIOD)
EQUAL, IN = q.FILTER_OPERATOR_EQUAL, q.FILTER_OPERATOR_IN
LESS, PRESENT = q.FILTER_OPERATOR_LESS, q.FILTER_OPERATOR_PRESENT


def reason_of(*found: tuple[str, r.ErrorReason.ValueType]) -> r.ErrorReason.ValueType:
    violations = Violations()
    for field, reason in found:
        violations.add(field, "is wrong", reason, {"field": field})
    with pytest.raises(ServiceError) as refusal:
        violations.raise_any()
    assert [v.field for v in refusal.value.violations] == [field for field, _ in found]
    return refusal.value.reason


def test_nothing_wrong_raises_nothing() -> None:
    Violations().raise_any()


def test_the_reason_is_the_common_one() -> None:
    size, filters = r.ERROR_REASON_PAGE_SIZE_INVALID, r.ERROR_REASON_FILTER_INVALID
    assert reason_of(("a", filters), ("b", filters)) == filters
    assert reason_of(("a", filters), ("b", size)) == r.ERROR_REASON_REQUEST_INVALID


def test_an_error_tells_twenty_violations_and_counts_the_others() -> None:
    violations = Violations()
    for number in range(1000):
        violations.add(f"field[{number}]", "is wrong")
    with pytest.raises(ServiceError) as refusal:
        violations.raise_any()
    assert refusal.value.message.endswith("field[19]: is wrong; and 980 more")
    bad = BadRequest()
    assert rich_status(refusal.value).details[1].Unpack(bad)
    assert len(bad.field_violations) == 21
    assert bad.field_violations[-1].description == "and 980 more"


def test_an_error_repeats_eighty_characters_of_a_name() -> None:
    assert echo("x" * 80) == "x" * 80
    assert echo("x" * 81) == "x" * 79 + "…"


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("2026-02-28", True),
        ("2026-02-29", False),
        ("2028-02-29", True),
        ("20260228", False),
        ("2026-2-28", False),
        ("2026-02-28T00:00:00", False),
        ("\uff12026-02-28", False),
        ("", False),
    ],
)
def test_dates_are_iso_calendar_dates(text: str, valid: bool) -> None:
    assert is_iso_date(text) is valid


def typed(info: KindInfo, field: str, operator: q.FilterOperator.ValueType, *values: str) -> list[Condition]:
    violations = Violations()
    conditions = conditions_from(info, [q.Filter(field=field, operator=operator, values=values)], violations)
    violations.raise_any()
    return list(conditions)


@pytest.mark.parametrize(
    ("info", "field", "operator", "values", "expected"),
    [
        (STUDENT, "surname", EQUAL, ["O’Brien"], ("O’Brien",)),
        (STUDENT, "surname", EQUAL, [""], ("",)),
        (STUDENT, "date_of_birth", LESS, ["2014-09-01"], ("2014-09-01",)),
        (STUDENT, "sex", IN, ["SEX_FEMALE", "SEX_MALE"], ("SEX_FEMALE", "SEX_MALE")),
        (STUDENT, "in_care", EQUAL, ["false"], (False,)),
        (PERIOD, "week", LESS, ["-3"], (-3,)),
        (STUDENT, "upn", PRESENT, [], (True,)),
        (STUDENT, "upn", PRESENT, ["false"], (False,)),
    ],
)
def test_values_become_what_stands_in_a_body(
    info: KindInfo,
    field: str,
    operator: q.FilterOperator.ValueType,
    values: list[str],
    expected: tuple[Value, ...],
) -> None:
    [condition] = typed(info, field, operator, *values)
    assert condition == Condition(field, operator, expected)
    assert [type(value) for value in condition.values] == [type(value) for value in expected]


@pytest.mark.parametrize(
    ("info", "field", "operator", "values", "place"),
    [
        (STUDENT, "nickname", EQUAL, ["x"], "field"),
        (kind_info(kinds.KIND_ACADEMIC_YEAR), "terms", PRESENT, [], "field"),
        (STUDENT, "surname", q.FILTER_OPERATOR_UNSPECIFIED, ["x"], "operator"),
        (STUDENT, "sex", LESS, ["SEX_MALE"], "operator"),
        (STUDENT, "in_care", LESS, ["true"], "operator"),
        (STUDENT, "surname", EQUAL, [], "values"),
        (STUDENT, "surname", EQUAL, ["x", "y"], "values"),
        (STUDENT, "surname", IN, [], "values"),
        (STUDENT, "sex", EQUAL, ["FEMALE"], "values"),
        (STUDENT, "in_care", EQUAL, ["yes"], "values"),
        (STUDENT, "upn", PRESENT, ["maybe"], "values"),
        (STUDENT, "date_of_birth", EQUAL, ["01/09/2014"], "values"),
        (PERIOD, "week", EQUAL, ["1.0"], "values"),
        (PERIOD, "week", EQUAL, ["2147483648"], "values"),
        (PERIOD, "week", EQUAL, ["٣"], "values"),
    ],
)
def test_what_a_kind_does_not_offer_is_refused_by_name(
    info: KindInfo, field: str, operator: q.FilterOperator.ValueType, values: list[str], place: str
) -> None:
    with pytest.raises(ServiceError) as refusal:
        typed(info, field, operator, *values)
    error = refusal.value
    assert error.reason == r.ERROR_REASON_FILTER_INVALID
    assert error.metadata == {"field": field}
    assert [violation.field for violation in error.violations] == [f"filters[0].{place}"]


@pytest.mark.parametrize("info", KINDS.values(), ids=lambda info: info.name)
def test_every_field_of_every_kind_offers_equality(info: KindInfo) -> None:
    scalars = {field.name for field in info.message.DESCRIPTOR.fields if field.message_type is None}
    assert set(filterable(info)) == scalars
    for field in filterable(info).values():
        assert operators_for(field) >= {EQUAL, IN, PRESENT}


def test_the_fields_that_hold_dates_are_the_ones_documented_so() -> None:
    found = {
        f"{info.name}.{f.name}"
        for info in KINDS.values()
        for f in filterable(info).values()
        if is_date_field(f)
    }
    assert {
        "student.date_of_birth",
        "enrolment.valid_to",
        "attendance_mark.date",
        "admission.left_on",
    } <= found
    assert not {"behaviour_event.occurred_at", "period.start_time", "student.surname"} & found


def test_g16_an_unknown_field_is_repeated_in_part_at_most() -> None:
    with pytest.raises(ServiceError) as refusal:
        typed(STUDENT, "shoe_size" + "x" * 100, EQUAL, "7")
    assert refusal.value.metadata == {"field": "shoe_size" + "x" * 70 + "…"}
    assert "shoe_size" not in refusal.value.message
