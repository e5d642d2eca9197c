"""Default canonical meanings of codes, and their overriding by connector and school.

Sources: attendance in England, SI 2024/208 reg. 10 and DfE "Working together to improve school attendance"
(in force from 19 August 2024); enrolment status, contact relationship, sex and SEN provision, DfE CBDS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from schoolgate.v1.kind_pb2 import Kind
from schoolgate.v1.school_service_pb2 import CodeMapping
from schoolgate_sdk.kinds import KINDS, KINDS_BY_NAME

Meanings: TypeAlias = Mapping[Kind.ValueType, Mapping[str, Mapping[str, int]]]
"""Kind, code field, code → number of the canonical enum value."""


def _each(meaning: str, codes: str) -> dict[str, str]:
    return dict.fromkeys(codes.split(), meaning)


_ATTENDANCE = {
    **_each("ATTENDANCE_MEANING_PRESENT", "/ \\ L"),
    **_each("ATTENDANCE_MEANING_APPROVED_EDUCATIONAL_ACTIVITY", "K V P W B"),
    **_each("ATTENDANCE_MEANING_AUTHORISED_ABSENCE", "C C1 C2 E I J1 M R S T"),
    **_each("ATTENDANCE_MEANING_UNAUTHORISED_ABSENCE", "G N O U"),
    **_each("ATTENDANCE_MEANING_NOT_POSSIBLE", "D Q X Y1 Y2 Y3 Y4 Y5 Y6 Y7"),
    **_each("ATTENDANCE_MEANING_ADMINISTRATIVE", "Z #"),
    **_each("ATTENDANCE_MEANING_RETIRED", "H J Y"),
}

DEFAULT_MEANINGS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "attendance_mark.code": _ATTENDANCE,
        "attendance_code.code": _ATTENDANCE,
        "student.sex_code": {"F": "SEX_FEMALE", "M": "SEX_MALE"},
        "student.sen_provision_code": {
            "N": "SEN_PROVISION_NONE",
            "K": "SEN_PROVISION_SUPPORT",
            "E": "SEN_PROVISION_EHC_PLAN",
        },
        "enrolment.status_code": {
            "C": "ENROLMENT_STATUS_CURRENT",
            "M": "ENROLMENT_STATUS_CURRENT_MAIN",
            "S": "ENROLMENT_STATUS_CURRENT_SUBSIDIARY",
            "F": "ENROLMENT_STATUS_FE_COLLEGE",
            "O": "ENROLMENT_STATUS_OTHER_PROVIDER",
            "G": "ENROLMENT_STATUS_GUEST",
            "P": "ENROLMENT_STATUS_PREVIOUS",
        },
        "student_contact.relationship_code": {
            "PAM": "CONTACT_RELATIONSHIP_MOTHER",
            "PAF": "CONTACT_RELATIONSHIP_FATHER",
            "STM": "CONTACT_RELATIONSHIP_STEPMOTHER",
            "STF": "CONTACT_RELATIONSHIP_STEPFATHER",
            "FOM": "CONTACT_RELATIONSHIP_FOSTER_MOTHER",
            "FOF": "CONTACT_RELATIONSHIP_FOSTER_FATHER",
            "CAR": "CONTACT_RELATIONSHIP_CARER",
            "CHM": "CONTACT_RELATIONSHIP_CHILDMINDER",
            "FAM": "CONTACT_RELATIONSHIP_OTHER_FAMILY_MEMBER",
            "REL": "CONTACT_RELATIONSHIP_OTHER_RELATIVE",
            "SWR": "CONTACT_RELATIONSHIP_SOCIAL_WORKER",
            "RLG": "CONTACT_RELATIONSHIP_RELIGIOUS_CONTACT",
            "DOC": "CONTACT_RELATIONSHIP_DOCTOR",
            "TCH": "CONTACT_RELATIONSHIP_TEACHER",
            "HTC": "CONTACT_RELATIONSHIP_HEAD_TEACHER",
            "OTH": "CONTACT_RELATIONSHIP_OTHER",
        },
    }
)
"""Meaning (enum value name) by "kind.code_field" and code."""


def meaning_number(field: str, meaning: str) -> int:
    """Return the number of the enum value called ``meaning`` for ``field`` ("kind.code_field").

    Raises:
        ValueError: ``field`` is no coded field, or its canonical meaning has no such value.
    """
    kind_name, _, code_field = field.partition(".")
    info = KINDS_BY_NAME.get(kind_name)
    if info is None or code_field not in info.coded:
        raise ValueError(f"{field!r} is no coded field")
    enum = info.message.DESCRIPTOR.fields_by_name[info.coded[code_field]].enum_type
    if enum is None:
        raise ValueError(f"{field!r} has no canonical meaning")
    if meaning not in enum.values_by_name:
        known = ", ".join(sorted(enum.values_by_name))
        raise ValueError(f"{meaning!r} is no meaning of {field}; there are {known}")
    return enum.values_by_name[meaning].number


def resolve_meanings(
    connector: Mapping[str, Mapping[str, str]], school: Iterable[CodeMapping] = ()
) -> Meanings:
    """Return the meanings in force: the school's before the connector's before the defaults.

    Raises:
        ValueError: a field or meaning is not known.
    """
    layers: list[tuple[str, str, str]] = [
        (field, code, meaning)
        for table in (DEFAULT_MEANINGS, connector)
        for field, codes in table.items()
        for code, meaning in codes.items()
    ]
    layers += [(mapping.field, mapping.code, mapping.meaning) for mapping in school]
    resolved: dict[Kind.ValueType, dict[str, dict[str, int]]] = {kind: {} for kind in KINDS}
    for field, code, meaning in layers:
        number = meaning_number(field, meaning)
        kind_name, _, code_field = field.partition(".")
        resolved[KINDS_BY_NAME[kind_name].kind].setdefault(code_field, {})[code] = number
    return resolved
