"""Parsers of people: pupils with their enrolment and admission, staff, and pupils' contacts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate.v1.kind_pb2 import (
    KIND_ADMISSION,
    KIND_CONTACT,
    KIND_ENROLMENT,
    KIND_STAFF,
    KIND_STUDENT,
    KIND_STUDENT_CONTACT,
)
from schoolgate.v1.people_pb2 import Contact, Staff, Student, StudentContact
from schoolgate.v1.roll_pb2 import Admission, Enrolment
from schoolgate_bromcom.columns import RowReader
from schoolgate_bromcom.parsers import keys
from schoolgate_sdk import KeyPart, LeftOut, Parsed, Ref, Row, RowRejected, SourceKey

CONTACT_POSITIONS: Final = (1, 2, 3)
"""``StudentFlatView`` has columns for so many contacts of a pupil; of further ones it says nothing."""


def parse_student(row: Row, settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Version 1 of the parser of ``StudentFlatView``: yield the pupil and the pupil's enrolment.

    The pupil is also known by a number as a person, since groups name their members by it: by ``personId``
    where the row has the column, else by ``studentId`` where the school's settings say that the two agree,
    else not at all.
    """
    reader = RowReader(row)
    number = reader.key_number("studentId")
    key = reader.key = SourceKey(keys.STUDENT, (number,))
    person = reader.number("personId")
    if person is None and not reader.has("personId") and settings.get("person_id_is_student_id") == "yes":
        person = number
    student = Student(
        upn=reader.text("upn"),
        admission_number=reader.reference_number("admissionNumber"),
        exam_number=reader.reference_number("examNumber"),
        forename=reader.text("firstName"),
        surname=reader.text("lastName"),
        preferred_forename=reader.text("preferredFirstName"),
        preferred_surname=reader.text("preferredLastName"),
        date_of_birth=reader.day("dateOfBirth"),
        sex_code=reader.code("genderCode"),
        email=reader.text("studentEmail"),
        year_group_code=reader.code("yearGroup"),
        ethnicity_code=reader.code("ethnicityCode"),
        sen_provision_code=reader.code("provisionName"),
        free_school_meals_ever_6=reader.flag("everFsm6Flag"),
        english_additional_language=reader.flag("ealFlag"),
        in_care=reader.flag("inCareFlag"),
        gifted_and_talented=reader.flag("gntFlag"),
        pupil_premium=reader.flag("premiumPupilFlag"),
    )
    other_keys = () if person is None else (SourceKey(keys.PERSON, (person,)),)
    pupil = Parsed(KIND_STUDENT, key, student, other_keys=other_keys)
    enrolment = _enrolment(reader, number)
    return (pupil,) if enrolment is None else (pupil, enrolment)


def _enrolment(reader: RowReader, student_id: int) -> Parsed | None:
    """Return the row's enrolment; ``None`` for a row that says nothing of one."""
    enrolment = Enrolment(
        status_code=reader.code("enrolmentStateName"),
        valid_from=reader.day("enrolmentStartDate"),
        valid_to=reader.day_after_last("enrolmentEndDate"),
    )
    if not enrolment.ListFields():
        return None
    year_group = reader.code("yearGroup")
    if year_group is not None:
        enrolment.year_group_code = year_group
    parts: tuple[KeyPart, ...] = (student_id, *keys.start(enrolment.valid_from))
    return Parsed(
        KIND_ENROLMENT,
        SourceKey(keys.ENROLMENT, parts),
        enrolment,
        keys.student_ref(keys.STUDENT, student_id),
    )


def parse_student_2(row: Row, settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Version 2: yield the entry of the admission register too, as far as the row has one.

    That is the number alone: no column is known for the days of admission and leaving, for those of
    enrolments need not be them.
    """
    parsed = parse_student(row, settings)
    number = parsed[0].message.admission_number if isinstance(parsed[0].message, Student) else ""
    if not number:
        return parsed
    (student_id,) = parsed[0].key.parts
    key = SourceKey(keys.ADMISSION, (student_id,))
    refs = (Ref("student_id", KIND_STUDENT, parsed[0].key),)
    return (*parsed, Parsed(KIND_ADMISSION, key, Admission(admission_number=number), refs))


def parse_staff(row: Row, _settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the member of staff from a row of ``Staff``."""
    reader = RowReader(row)
    key = reader.key = SourceKey(keys.STAFF, (reader.key_number("staffId"),))
    staff = Staff(
        title=reader.text("title"),
        forename=reader.text("firstName"),
        surname=reader.text("lastName"),
        email=reader.text("workEmail"),
        staff_code=reader.text("staffCode"),
        job_title=reader.text("jobTitle"),
    )
    return (Parsed(KIND_STAFF, key, staff),)


def parse_contacts(row: Row, _settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the contacts of a row of ``StudentFlatView``, each with what it is to the pupil.

    The Partner API gives contacts no ids. A contact is known by the pupil and the position in the row, never
    by its name: one who is shared by siblings is as many records, and one who moves up takes over the record
    of who was there before. A row that is refused is refused without a key, for it is several contacts at
    once: none of them counts as absent then. A position that says what somebody is to the pupil, and not who,
    is left out with a decision, and does not cost the others.
    """
    reader = RowReader(row)
    reader.check()
    number = reader.key_number("studentId")
    parsed: list[Parsed] = []
    nobody: list[LeftOut] = []
    for position in CONTACT_POSITIONS:
        match _contact(reader, number, position):
            case LeftOut() as left_out:
                nobody.append(left_out)
            case found:
                parsed += found
    if parsed:
        return (parsed[0]._replace(left_out=tuple(nobody)), *parsed[1:])
    if nobody:
        fields = ", ".join(each.field for each in nobody)
        raise RowRejected(nobody[0].reason, fields, nobody[0].detail, nobody[0].key)
    return ()


def _contact(reader: RowReader, student_id: int, position: int) -> tuple[Parsed, ...] | LeftOut:
    """Return a contact and its link; nothing where the columns of the position are empty."""
    prefix = f"contact{position}"
    key = SourceKey(keys.CONTACT, (student_id, position))
    contact = Contact(
        full_name=reader.text(f"{prefix}Name"),
        telephone=reader.text(f"{prefix}Telephone"),
        email=reader.text(f"{prefix}Email"),
    )
    link = StudentContact(
        relationship_code=reader.code(f"{prefix}Relationship"),
        parental_responsibility=reader.flag(f"{prefix}ParentalResponsibility"),
    )
    link_key = SourceKey(keys.STUDENT_CONTACT, key.parts)
    # A flag of "No" alone is what a row without a contact may have just as well, and so perhaps is "Yes"; the
    # dataset's filter, which leaves out pupils without contacts, looks at the other four columns.
    if not contact.ListFields():
        if not link.HasField("relationship_code"):
            return ()
        return LeftOut(
            diagnostics.DECISION_REASON_VALUE_INVALID,
            f"{prefix}Relationship",
            "is there without a name, a telephone number or an address",
            link_key,
        )
    refs = (*keys.student_ref(keys.STUDENT, student_id), Ref("contact_id", KIND_CONTACT, key))
    return (Parsed(KIND_CONTACT, key, contact), Parsed(KIND_STUDENT_CONTACT, link_key, link, refs))
