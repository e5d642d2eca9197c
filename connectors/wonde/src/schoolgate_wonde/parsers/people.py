"""Parsers of people: pupils, staff, contacts, and what a contact is to a pupil."""

from __future__ import annotations

from collections.abc import Mapping

from schoolgate.v1.kind_pb2 import KIND_CONTACT, KIND_STAFF, KIND_STUDENT, KIND_STUDENT_CONTACT
from schoolgate.v1.people_pb2 import Contact, Staff, Student, StudentContact
from schoolgate_sdk import Parsed, Ref, Row, SourceKey
from schoolgate_wonde import values
from schoolgate_wonde.parsers import keys
from schoolgate_wonde.rows import RowReader


def parse_student(row: Row, settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the pupil. Who has no ``upi`` is a pupil like any other, known by ``id``.

    Wonde's ``forename`` is what a pupil is called and ``legal_forename`` what the register says; without the
    latter, the former is all that is known of it.
    """
    reader = RowReader(row, settings, "students")
    key = reader.set_key(keys.STUDENT, reader.key_id())
    legal_forename, legal_surname = (
        reader.at(f"legal_{name}", values.text) for name in ("forename", "surname")
    )
    forename, surname = (reader.at(name, values.text) for name in ("forename", "surname"))
    student = Student(
        upn=reader.text("upn"),
        uln=reader.text("uln"),
        admission_number=reader.text("admission_number"),
        forename=legal_forename or forename,
        middle_names=reader.at("middle_names", values.text),
        surname=legal_surname or surname,
        preferred_forename=forename if legal_forename else None,
        preferred_surname=surname if legal_surname else None,
        date_of_birth=reader.at("date_of_birth", values.day),
        sex_code=reader.at("gender", values.text),
        email=reader.text("email"),
        year_group_code=reader.text("year_group_code"),
        national_curriculum_year=reader.text("national_curriculum_year"),
        exam_number=reader.text("exam_number"),
        ethnicity_code=reader.text("ethnicity_code"),
        sen_provision_code=reader.text("sen_provision_code"),
        free_school_meals_ever_6=reader.field("free_school_meals_ever_6", values.flag),
        english_additional_language=reader.field("english_additional_language", values.flag),
        in_care=reader.field("in_care", values.flag),
        gifted_and_talented=reader.field("gifted_and_talented", values.flag),
        pupil_premium=reader.field("pupil_premium", values.flag),
    )
    others = _other_keys(reader, keys.STUDENT_UPI, keys.STUDENT_MIS)
    return (Parsed(KIND_STUDENT, key, student, other_keys=others),)


def parse_employee(row: Row, settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the member of staff."""
    reader = RowReader(row, settings, "employees")
    key = reader.set_key(keys.STAFF, reader.key_id())
    staff = Staff(
        title=reader.text("title"),
        forename=reader.text("forename"),
        middle_names=reader.text("middle_names"),
        surname=reader.text("surname"),
        email=reader.text("email"),
        staff_code=reader.text("staff_code"),
        job_title=reader.text("job_title"),
    )
    others = _other_keys(reader, keys.STAFF_UPI, keys.STAFF_MIS)
    return (Parsed(KIND_STAFF, key, staff, other_keys=others),)


def parse_contact(row: Row, settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield the contact: one, however many pupils share it, and apart from the pupil who may be the same
    person.
    """
    reader = RowReader(row, settings, "contacts")
    key = reader.set_key(keys.CONTACT, reader.key_id())
    contact = Contact(
        title=reader.text("title"),
        forename=reader.text("forename"),
        surname=reader.text("surname"),
        email=reader.text("email"),
        telephone=reader.text("telephone"),
    )
    others = _other_keys(reader, keys.CONTACT_UPI, keys.CONTACT_MIS)
    return (Parsed(KIND_CONTACT, key, contact, other_keys=others),)


def parse_student_contact(row: Row, settings: Mapping[str, str], /) -> tuple[Parsed, ...]:
    """Yield what a contact is to one pupil, from a contact nested in the pupil.

    ``priority`` may be missing, and two contacts of a pupil may have the same one: neither is a key.
    """
    reader = RowReader(row, settings, "students")
    student, contact = reader.key_id("student_id"), reader.key_id("nested.id")
    key = reader.set_key(keys.STUDENT_CONTACT, student, contact)

    def flag(name: str) -> bool | None:
        return reader.at(f"nested.relationship.{name}", values.flag)

    link = StudentContact(
        relationship_code=reader.at("nested.relationship.relationship", values.text),
        priority=reader.at("nested.relationship.priority", values.whole),
        parental_responsibility=flag("parental_responsibility"),
        lives_with=flag("lives_with_pupil"),
        court_order=flag("court_order"),
        correspondence=flag("correspondence"),
    )
    refs = (
        keys.student_ref(student),
        Ref("contact_id", KIND_CONTACT, SourceKey(keys.CONTACT, (contact,))),
    )
    return (Parsed(KIND_STUDENT_CONTACT, key, link, refs),)


def _other_keys(reader: RowReader, upi: str, mis: str) -> tuple[SourceKey, ...]:
    """Return what else a person is known by: who they are to Wonde across schools, and to the MIS.

    ``mis_id`` may come as a number; it is a text all the same, so that 17 and "17" are one.
    """
    person = reader.at("upi", values.identifier)
    number = reader.at("mis_id", lambda value: values.identifier(values.text(value)))
    found = ((upi, person), (mis, number))
    return tuple(SourceKey(space, (value,)) for space, value in found if value is not None)
