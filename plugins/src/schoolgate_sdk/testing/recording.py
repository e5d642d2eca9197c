"""The part of a world that records things about pupils: contacts, behaviour, results, marks, consent."""

from __future__ import annotations

from datetime import date, datetime

from schoolgate_sdk.testing import record_edits
from schoolgate_sdk.testing.entities import (
    AssessmentResult,
    BehaviourEvent,
    Contact,
    ContactLink,
    Session,
)
from schoolgate_sdk.testing.state import WorldState


class RecordingWorld:
    """Edits that :class:`~schoolgate_sdk.testing.world.World` has besides its own."""

    _state: WorldState

    def add_contact(
        self,
        pupil: int,
        relationship_code: str,
        surname: str,
        *,
        title: str | None = None,
        forename: str | None = None,
        email: str | None = None,
        telephone: str | None = None,
    ) -> Contact:
        """Add a contact of a pupil."""
        known = {
            "title": title,
            "forename": forename,
            "surname": surname,
            "email": email,
            "telephone": telephone,
        }
        return record_edits.add_contact(self._state, pupil, relationship_code, known)

    def change_contact(
        self,
        contact: int,
        *,
        title: str | None = None,
        forename: str | None = None,
        surname: str | None = None,
        email: str | None = None,
        telephone: str | None = None,
    ) -> Contact:
        """Change a contact, for every pupil who shares it; what is ``None`` stays."""
        changed = {
            "title": title,
            "forename": forename,
            "surname": surname,
            "email": email,
            "telephone": telephone,
        }
        return record_edits.change_contact(self._state, contact, changed)

    def link_contact(
        self,
        pupil: int,
        contact: int,
        *,
        relationship_code: str | None = None,
        priority: int | None = None,
        parental_responsibility: bool | None = None,
        lives_with: bool | None = None,
        court_order: bool | None = None,
        correspondence: bool | None = None,
    ) -> ContactLink:
        """Make a contact one of a pupil's too, or change what it is to that pupil; ``None`` stays."""
        given = {
            "relationship_code": relationship_code,
            "priority": priority,
            "parental_responsibility": parental_responsibility,
            "lives_with": lives_with,
            "court_order": court_order,
            "correspondence": correspondence,
        }
        return record_edits.link_contact(self._state, pupil, contact, given)

    def unlink_contact(self, pupil: int, contact: int) -> None:
        """Take a contact from a pupil; one that is nobody's any more goes."""
        record_edits.unlink_contact(self._state, pupil, contact)

    def record_behaviour(  # noqa: PLR0913 - an event has as many values
        self,
        pupil: int,
        event_type: int,
        occurred_at: datetime,
        *,
        points: int | None = None,
        staff: int | None = None,
        group: int | None = None,
        room: int | None = None,
        comment: str | None = None,
        internal_comment: str | None = None,
    ) -> BehaviourEvent:
        """Add a behaviour event, as a write to the MIS does; its points are the type's by default."""
        given = {
            "points": points,
            "staff": staff,
            "group": group,
            "room": room,
            "comment": comment,
            "internal_comment": internal_comment,
        }
        return record_edits.record_behaviour(self._state, pupil, event_type, occurred_at, given)

    def correct_behaviour(
        self, event: int, *, points: int | None = None, comment: str | None = None
    ) -> BehaviourEvent:
        """Change points or comment of an event; what is ``None`` stays."""
        return record_edits.correct_behaviour(self._state, event, points, comment)

    def delete_behaviour(self, event: int) -> None:
        """Delete an event; its number is not given again."""
        record_edits.delete_behaviour(self._state, event)

    def record_result(
        self,
        pupil: int,
        assessment: str,
        result: str,
        *,
        subject: str | None = None,
        term: str | None = None,
        entered_on: date | None = None,
        is_grade: bool | None = None,
    ) -> AssessmentResult:
        """Enter a result, today by default, in place of the pupil's of that assessment, subject and term."""
        given = {"subject": subject, "term": term, "entered_on": entered_on, "is_grade": is_grade}
        return record_edits.record_result(self._state, pupil, assessment, result, given)

    def record_mark(
        self,
        pupil: int,
        date: date,
        code: str,
        *,
        session: Session | None = None,
        period: int | None = None,
        comment: str | None = None,
    ) -> None:
        """Make or replace the mark of a session, or of the lesson in a period, as a write to the MIS does.

        Registers of that day must be taken, and the pupil on roll.
        """
        record_edits.record_mark(self._state, pupil, date, code, session, period, comment)

    def withdraw_consent(self, pupil: int) -> None:
        """Let a pupil's consent to data processing be withdrawn: MISs then show nothing of the pupil."""
        record_edits.withdraw_consent(self._state, pupil)

    def grant_consent(self, pupil: int) -> None:
        """Give the consent again: the pupil is shown as before."""
        record_edits.grant_consent(self._state, pupil)
