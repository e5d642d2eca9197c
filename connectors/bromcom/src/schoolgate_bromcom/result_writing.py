"""Writing assessment results: a save of the SOAP services, found again by what was written.

The arguments are public, the operation's name and the ids of assessments, terms and year groups are a
school's settings (:mod:`result_settings`). Rows of results have no id, and what a save answers is not public,
so a result is looked for among the pupil's, by names. One that somebody entered by hand with the same
values is taken for ours, and never written beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

import orjson

from schoolgate.v1.assessment_pb2 import AssessmentResult
from schoolgate.v1.groups_pb2 import Subject
from schoolgate_bromcom import filters, values
from schoolgate_bromcom.columns import RowReader
from schoolgate_bromcom.datasets import DATASETS
from schoolgate_bromcom.filters import Column
from schoolgate_bromcom.parsers import keys
from schoolgate_bromcom.result_settings import ResultSettings, Term
from schoolgate_bromcom.session import SurfaceReader
from schoolgate_bromcom.soap_client import SoapClient
from schoolgate_bromcom.surfaces import Surface, SurfaceSettings
from schoolgate_bromcom.written import Likeness, id_of, read_twice
from schoolgate_sdk import (
    EntityDenied,
    Incomplete,
    Parsed,
    Row,
    RowRejected,
    SourceKey,
    Unsupported,
    WriteOperation,
    WriteReceipt,
    WriteRequest,
    WriteSafety,
    WriteValue,
)

ENTITY: Final = "AssociationAssessmentResultsRaw"
"""Where results are read. What a save is called is not public; that a school has to grant this one, and a
Third Party Write Licence besides, is.
"""

RECORD_ASSESSMENT_RESULT: Final = WriteOperation(
    "record_assessment_result",
    WriteSafety.NATURAL_KEY_READBACK,
    required=("student_id", "assessment_name", "result", "date", "subject_id"),
    natural_key=("student_id", "assessment_name", "result", "date", "subject_id"),
    entities=(ENTITY, "StudentFlatView", "Subjects"),
    announces=True,
)
"""The pupil's row gives the year group, and the subject's its name, by which the result is found again."""

_BY_NAME: Final = {dataset.name: dataset for dataset in DATASETS}
_LONGEST_SAID: Final = 200
"""Characters of what a save answers that are kept for people."""


@dataclass(frozen=True, slots=True)
class _Result:
    """The values of one request, as Bromcom writes them; ``None`` of what it does not show."""

    student: int
    assessment: str
    assessment_type: int
    result: str
    day: date
    term: Term
    subject: SourceKey
    subject_name: str | None = None
    year_group: str | None = None


class ResultWriter:
    """Writes assessment results of one school, and finds out what became of them.

    ``client`` is that of the SOAP services, ``readers`` are the session's: what is read for a write is read
    where its dataset is.
    """

    def __init__(
        self,
        client: SoapClient,
        readers: Mapping[Surface, SurfaceReader],
        surfaces: SurfaceSettings,
        settings: Mapping[str, str],
        typed: ResultSettings,
    ) -> None:
        self._client = client
        self._readers = readers
        self._surfaces = surfaces
        self._settings = settings
        self._typed = typed

    async def write(self, request: WriteRequest) -> WriteReceipt:
        """Save a result once. The pupil's year group and the subject's name are read before.

        Raises:
            Transient: the outcome is unknown; or nothing was sent, where ``request.leaving`` was not asked.
            WriteStopped: as ``request.leaving`` raised it; nothing was sent.
            Unsupported: a value cannot be written, or Bromcom does not show whom or what it is about: nothing
                was sent. Or Bromcom refuses it as malformed.
            ConnectorError: as :meth:`SoapClient.save` raises, where Bromcom refused.
        """
        wanted = await self._shown(self._wanted(request))
        if wanted.subject_name is None:
            raise Unsupported("Bromcom shows no such subject", entity="Subjects")
        if wanted.year_group is None:
            raise Unsupported("Bromcom does not show the pupil with a year group", entity="StudentFlatView")
        year_group = self._typed.year_groups.get(wanted.year_group)
        if year_group is None:
            raise Unsupported("setting result_year_groups does not have the pupil's year group")
        arguments = {
            "studentResultID": "0",
            "studentID": str(wanted.student),
            "assessmentTypeID": str(wanted.assessment_type),
            "termID": str(wanted.term.number),
            "yearGroupID": str(year_group),
            "subjectID": str(wanted.subject.parts[0]),
            "result": wanted.result,
            "resultDate": f"{wanted.day.isoformat()}T00:00:00",
        }
        operation = self._typed.operation
        said = await self._client.save(self._typed.url, operation, arguments, ENTITY, request.leaving)
        answered = said is not None and len(said) <= _LONGEST_SAID
        return WriteReceipt(response=orjson.dumps({"result": said}).decode() if answered else "")

    async def find(self, request: WriteRequest, receipt: WriteReceipt | None, /) -> WriteReceipt | None:
        """Look for the result among the pupil's, in two reads that have to agree.

        With a ``receipt`` Bromcom took it, so that one which is the same is it, whatever else there is: what
        it corrects may be shown beside it.

        Raises:
            Transient: the reads do not agree, or as the dataset's reader raises.
            Incomplete: several results are the same. One has the same assessment and subject, and is alike in
                result and date or in term and year group, where no result is the same or there is no
                ``receipt``. Or the pupil or the subject is not shown.
        """
        wanted = self._wanted(request)
        student = wanted.student
        rows = await read_twice(lambda: self._results(student), "results", ENTITY)
        try:
            wanted = await self._shown(wanted)
        except (EntityDenied, Unsupported):
            raise Incomplete(
                "Bromcom does not show whom or what the result is about", entity=ENTITY
            ) from None
        if wanted.subject_name is None or wanted.year_group is None:
            raise Incomplete("Bromcom does not show the pupil or the subject", entity=ENTITY)
        found = [(parsed.key, _likeness(parsed, wanted)) for row in rows for parsed in self._parsed(row)]
        same = [key for key, likeness in found if likeness == Likeness.SAME]
        if len(same) > 1:
            raise Incomplete("several results are as this one was written", entity=ENTITY)
        taken = receipt is not None and len(same) == 1
        if not taken and any(likeness == Likeness.ALIKE for _, likeness in found):
            raise Incomplete("a result is much as this one was written, and may be it", entity=ENTITY)
        return WriteReceipt(keys=tuple(same)) if same else None

    def _parsed(self, row: Row) -> list[Parsed]:
        try:
            return list(_BY_NAME["assessment_results"].parser(row, self._settings))
        except RowRejected as rejected:
            raise Incomplete(
                "a result of the pupil's cannot be read, and may be it", entity=ENTITY
            ) from rejected

    def _wanted(self, request: WriteRequest) -> _Result:
        """Return what is asked for.

        Raises:
            Unsupported: a value cannot be written at this school.
        """
        given, typed = request.values, self._typed
        subject = given.get("subject_id")
        if not typed.knows_subjects:
            raise Unsupported("results are written only where setting result_subject_id_is_subject_id is yes")
        id_of(given, "subject_id", keys.SUBJECT)
        assert isinstance(subject, SourceKey)
        assessment, result = _text(given, "assessment_name"), _text(given, "result")
        assessment_type = typed.assessment_types.get(assessment)
        if assessment_type is None:
            raise Unsupported("setting result_assessment_types does not have the assessment")
        try:
            day = date.fromisoformat(str(given.get("date")))
        except ValueError:
            raise Unsupported("date must be a date") from None
        term = typed.term_of(day)
        if term is None:
            raise Unsupported("setting result_terms has no term with the date")
        student = id_of(given, "student_id", keys.STUDENT)
        return _Result(student, assessment, assessment_type, result, day, term, subject)

    async def _shown(self, wanted: _Result) -> _Result:
        """Return it with the names that Bromcom shows of the subject and of the pupil's year group."""
        subjects: set[str] = set()
        for row in await self._rows("subjects", filters.EVERYTHING):
            try:
                for parsed in _BY_NAME["subjects"].parser(row, self._settings):
                    if parsed.key == wanted.subject and isinstance(parsed.message, Subject):
                        subjects.add(parsed.message.name.strip())
            except RowRejected:
                continue  # another subject, or one without a name to find it by
        groups: set[str] = set()
        for row in await self._rows("students", filters.one_of(Column.STUDENT_ID, [wanted.student])):
            reader = RowReader(row)
            try:
                if reader.key_number("studentId") == wanted.student:
                    groups.add(reader.value("yearGroup", values.short_name) or "")
            except RowRejected:
                groups.add("")
        return replace(wanted, subject_name=_only(subjects), year_group=_only(groups))

    async def _results(self, student: int) -> list[Row]:
        return await self._rows("assessment_results", filters.one_of(Column.STUDENT_ID, [student]))

    async def _rows(self, name: str, predicate: str) -> list[Row]:
        dataset = _BY_NAME[name]
        reader = self._readers.get(self._surfaces.chosen[name])
        if reader is None:
            raise Unsupported(f"{name} are not read in this session", entity=dataset.entity)
        async with aclosing(reader.found(dataset, predicate)) as rows:
            return [row async for row in rows]


def _likeness(parsed: Parsed, wanted: _Result) -> Likeness:
    """Return how like a result is to the one that was written."""
    found = parsed.message
    assert isinstance(found, AssessmentResult)
    about = (found.assessment_name.casefold(), found.subject_name.casefold())
    if parsed.key.parts[0] != wanted.student or about != (
        wanted.assessment.casefold(),
        (wanted.subject_name or "").casefold(),
    ):
        return Likeness.OTHER
    value = (found.result, found.entered_on) == (wanted.result, wanted.day.isoformat())
    place = (found.term_name, found.year_group_code) == (wanted.term.name, wanted.year_group)
    spelt = (found.assessment_name, found.subject_name) == (wanted.assessment, wanted.subject_name)
    if value and place and spelt:
        return Likeness.SAME
    # The one was changed since, or the settings name another term than Bromcom took it for.
    return Likeness.ALIKE if value or place else Likeness.OTHER


def _only(names: set[str]) -> str | None:
    return next(iter(names)) or None if len(names) == 1 else None


def _text(given: Mapping[str, WriteValue], name: str) -> str:
    value = given.get(name)
    found = value.strip() if isinstance(value, str) else ""
    if not found or not found.isprintable():
        raise Unsupported(f"{name} must be a text of one line")
    return found
