"""What a run asks a MIS for, and the fingerprint by which two runs' scopes are compared."""

from __future__ import annotations

import hashlib
from datetime import date

import orjson

from schoolgate.v1.school_service_pb2 import AcademicYearSpan, School
from schoolgate_sdk import Connector, Dataset, Scope


def academic_year(school: School, today: date) -> AcademicYearSpan:
    """Return the school's academic year, or the one that contains ``today`` by England's default.

    By default a year begins on 1 September and ends on 31 August.
    """
    if school.HasField("academic_year"):
        return school.academic_year
    first = today.year if today.month >= 9 else today.year - 1
    return AcademicYearSpan(
        name=f"{first}/{(first + 1) % 100:02d}",
        valid_from=date(first, 9, 1).isoformat(),
        valid_to=date(first + 1, 9, 1).isoformat(),
    )


def scope_of(school: School, dataset: Dataset, today: date) -> Scope:
    """Return what a full read of ``dataset`` asks for."""
    year = academic_year(school, today)
    if not dataset.windowed:
        return Scope(dataset.name, year.name)
    return Scope(
        dataset.name,
        year.name,
        date.fromisoformat(year.valid_from),
        date.fromisoformat(year.valid_to),
    )


def fingerprint(school: School, connector: Connector, dataset: Dataset, scope: Scope) -> str:
    """Return the digest of everything that decides which rows and records a read can yield (G08)."""
    parts = {
        "connector": connector.name,
        "dataset": dataset.name,
        "entities": sorted(dataset.entities),
        "parser": dataset.parser_version,
        "profile": sorted(school.data_profile),
        "settings": {
            spec.name: school.settings.get(spec.name, spec.default)
            for spec in connector.settings
            if spec.scope
        },
        "window": [str(scope.date_from), str(scope.date_to)],
    }
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()
