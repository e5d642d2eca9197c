"""What each entity holds: typed rows made from a world, before the dialect spoils them.

Columns are those of the public field lists.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from schoolgate_bromcom.simulator.record_rows import RECORD_ENTITIES
from schoolgate_bromcom.simulator.rows import Entity, PersonIds, TypedRow, View, last_day, shown_marks
from schoolgate_sdk.testing.entities import Contact, ContactLink
from schoolgate_sdk.testing.world import World

__all__ = ["BASIC_ATTENDANCE", "ENTITIES", "Entity", "PersonIds", "TypedRow", "View"]

_CONTACT_FIELDS: Final = ("Name", "Telephone", "Email", "Relationship", "ParentalResponsibility")
_STUDENT: Final = (
    "studentId",
    "personId",
    "firstName",
    "lastName",
    "preferredFirstName",
    "preferredLastName",
    "genderCode",
    "dateOfBirth",
    "studentEmail",
    "upn",
    "examNumber",
    "admissionNumber",
    "ethnicityCode",
    "provisionName",
    "everFsm6Flag",
    "ealFlag",
    "inCareFlag",
    "gntFlag",
    "premiumPupilFlag",
    "enrolmentStateName",
    "enrolmentStartDate",
    "enrolmentEndDate",
    "yearGroup",
    "tutorGroupName",
)
_DAY_NAMES: Final = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")


def _students(view: View) -> Iterator[TypedRow]:
    """Yield a row per enrolment that has not ended; a pupil whose leaving date has come is not shown any
    more, nor is one without "Data Processing Consent Granted".
    """
    world = view.world
    tutor_groups = world.tutor_groups(view.today)
    links: defaultdict[int, list[ContactLink]] = defaultdict(list)
    for link in world.contact_links.values():
        links[link.pupil].append(link)
    for enrolment in world.enrolments.values():
        if enrolment.valid_to is not None and enrolment.valid_to <= view.today:
            continue
        if enrolment.pupil in world.withheld:
            continue
        pupil = world.pupils[enrolment.pupil]
        tutor_group = tutor_groups.get(pupil.number)
        row: TypedRow = {"studentId": pupil.number}
        if view.person_ids == "column":
            row["personId"] = pupil.person_number
        row |= {
            "firstName": pupil.forename,
            "lastName": pupil.surname,
            "preferredFirstName": pupil.preferred_forename,
            "preferredLastName": pupil.preferred_surname,
            "genderCode": pupil.sex_code,
            "dateOfBirth": pupil.date_of_birth,
            "studentEmail": pupil.email,
            "upn": pupil.upn,
            "examNumber": pupil.exam_number,
            "admissionNumber": pupil.admission_number,
            "ethnicityCode": pupil.ethnicity_code,
            "provisionName": pupil.sen_provision_code,
            "everFsm6Flag": pupil.free_school_meals_ever_6,
            "ealFlag": pupil.english_additional_language,
            "inCareFlag": pupil.in_care,
            "gntFlag": pupil.gifted_and_talented,
            "premiumPupilFlag": pupil.pupil_premium,
            "enrolmentStateName": enrolment.status_code,
            "enrolmentStartDate": enrolment.valid_from,
            "enrolmentEndDate": last_day(enrolment.valid_to),
            "yearGroup": pupil.year_group,
            "tutorGroupName": None if tutor_group is None else tutor_group.name,
        }
        yield row | _contacts(links[pupil.number], world)


def _contacts(links: list[ContactLink], world: World) -> TypedRow:
    ordered = sorted(links, key=lambda link: (link.priority is None, link.priority, link.contact))
    row: TypedRow = {}
    for position in range(3):
        link = ordered[position] if position < len(ordered) else None
        contact = world.contacts[link.contact] if link else None
        values: tuple[object, ...] = (
            contact and _full_name(contact),
            contact and contact.telephone,
            contact and contact.email,
            link and link.relationship_code,
            link and link.parental_responsibility,
        )
        names = (f"contact{position + 1}{field}" for field in _CONTACT_FIELDS)
        row.update(zip(names, values, strict=True))
    return row


def _full_name(contact: Contact) -> str:
    return " ".join(part for part in (contact.title, contact.forename, contact.surname) if part)


def _staff(view: View) -> Iterator[TypedRow]:
    for member in view.world.staff.values():
        yield {
            "staffId": member.number,
            "title": member.title,
            "firstName": member.forename,
            "lastName": member.surname,
            "workEmail": member.email,
            "staffCode": member.staff_code,
            "jobTitle": member.job_title,
        }


def _collections(view: View) -> Iterator[TypedRow]:
    for group in view.world.groups.values():
        yield {
            "collectionID": group.number,
            "name": group.name,
            "description": group.description,
            "startDate": group.valid_from,
            "endDate": last_day(group.valid_to),
            "collectionTypeName": group.type_code,
        }


def _associates(view: View) -> Iterator[TypedRow]:
    world = view.world
    same = view.person_ids == "same"
    for membership in world.memberships.values():
        if membership.pupil in world.withheld:
            continue
        pupil = world.pupils[membership.pupil]
        yield {
            "collectionID": membership.group,
            "collectionName": world.groups[membership.group].name,
            "personID": pupil.number if same else pupil.person_number,
            "startDate": membership.valid_from,
            "endDate": last_day(membership.valid_to),
        }


def _executives(view: View) -> Iterator[TypedRow]:
    for assignment in view.world.assignments.values():
        yield {
            "staffID": assignment.staff,
            "collectionID": assignment.group,
            "collectionRoleTypeDescription": assignment.role_code,
            "endDate": last_day(assignment.valid_to),
        }


def _period_structures(view: View) -> Iterator[TypedRow]:
    for period in view.world.periods.values():
        middle = period.week if period.type_code == "PERIOD" else period.name
        yield {
            "calendarModelID": period.number,
            "calendarModelName": f"{_DAY_NAMES[period.weekday - 1]}_{middle}_{period.number}",
            "calendarTypeName": period.type_code,
            "weekNumber": period.week,
            "dayOfWeek": period.weekday,
            "periodDisplayName": period.name,
            "defaultStartTime": period.starts,
            "defaultEndTime": period.ends,
        }


def _collection_timetables(view: View) -> Iterator[TypedRow]:
    for entry in view.world.timetable.values():
        yield {
            "collectionID": entry.group,
            "calendarModelID": entry.period,
            "employeeID": entry.staff,
            "locationID": entry.room,
            "startDate": entry.valid_from,
            "endDate": last_day(entry.valid_to),
        }


def _basic_attendance(view: View) -> Iterator[TypedRow]:
    for mark in shown_marks(view.world):
        yield {
            "studentId": mark.pupil,
            "calendarStartDate": mark.date,
            "periodDisplayName": mark.session,
            "mark": mark.code,
            "attendanceComment": mark.comment,
        }


BASIC_ATTENDANCE: Final = "BasicAttendance"

ENTITIES: Final = {
    entity.name: entity
    for entity in (
        Entity(
            "StudentFlatView",
            (*_STUDENT, *(f"contact{n}{field}" for n in (1, 2, 3) for field in _CONTACT_FIELDS)),
            _students,
        ),
        Entity(
            "Staff",
            ("staffId", "title", "firstName", "lastName", "workEmail", "staffCode", "jobTitle"),
            _staff,
        ),
        Entity(
            "Collections",
            ("collectionID", "name", "description", "startDate", "endDate", "collectionTypeName"),
            _collections,
        ),
        Entity(
            "CollectionAssociates",
            ("collectionID", "collectionName", "personID", "startDate", "endDate"),
            _associates,
        ),
        Entity(
            "CollectionExecutives",
            ("staffID", "collectionID", "collectionRoleTypeDescription", "endDate"),
            _executives,
        ),
        Entity(
            "PeriodStructures",
            (
                "calendarModelID",
                "calendarModelName",
                "calendarTypeName",
                "weekNumber",
                "dayOfWeek",
                "periodDisplayName",
                "defaultStartTime",
                "defaultEndTime",
            ),
            _period_structures,
        ),
        Entity(
            "CollectionTimetables",
            ("collectionID", "calendarModelID", "employeeID", "locationID", "startDate", "endDate"),
            _collection_timetables,
        ),
        Entity(
            BASIC_ATTENDANCE,
            ("studentId", "calendarStartDate", "periodDisplayName", "mark", "attendanceComment"),
            _basic_attendance,
        ),
        *RECORD_ENTITIES,
    )
}
"""Every entity that is served, by name."""
