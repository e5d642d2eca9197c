"""What a run asks a MIS for, and the fingerprints by which two runs are compared.

The fingerprint of the scope covers what decides which rows a read yields; that of the projection covers what
decides how a row is read. A change of the first makes absences doubtful; one of the second is *reprojection*.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import date
from typing import Any

import orjson

from schoolgate.v1.school_service_pb2 import AcademicYearSpan, School
from schoolgate_sdk import Connector, Dataset, KindInfo, Scope, Unsupported, kind_info
from schoolgate_server.model.codes import Meanings


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


def dataset_of(school: School, connector: Connector, name: str) -> Dataset:
    """Return the dataset with the parser that ``school`` uses: the one it is held at, or the connector's.

    Raises:
        Unsupported: the connector has no such version (any more).
    """
    dataset = connector.dataset(name)
    version = school.parser_versions.get(name, dataset.parser_version)
    try:
        return dataset.at_version(version)
    except KeyError:
        available = ", ".join(map(str, dataset.parser_versions))
        raise Unsupported(
            f"dataset {name!r} has no parser version {version}; there are {available}: "
            "change the school's parser_versions"
        ) from None


def scope_of(school: School, dataset: Dataset, today: date, window: tuple[date, date] | None = None) -> Scope:
    """Return what a read of ``dataset`` asks for: its academic year, or the ``window`` within it."""
    year = academic_year(school, today)
    if not dataset.windowed:
        return Scope(dataset.name, year.name)
    begins, ends = date.fromisoformat(year.valid_from), date.fromisoformat(year.valid_to)
    if window is not None:
        begins = max(begins, window[0])
        ends = max(begins, min(ends, window[1]))
    return Scope(dataset.name, year.name, begins, ends)


def scope_fingerprint(school: School, connector: Connector, dataset: Dataset, today: date) -> str:
    """Return the digest of everything that decides which rows a full read can yield (G08)."""
    whole = scope_of(school, dataset, today)
    return _digest(
        {
            "connector": connector.name,
            "dataset": dataset.name,
            "entities": sorted(dataset.entities),
            "settings": _settings(school, connector),
            "window": [str(whole.date_from), str(whole.date_to)],
        }
    )


def projection_fingerprint(school: School, connector: Connector, dataset: Dataset, meanings: Meanings) -> str:
    """Return the digest of everything that decides how a row is read (G08)."""
    infos = [kind_info(spec.kind) for spec in dataset.kinds]
    return _digest(
        {
            "connector": connector.name,
            "dataset": dataset.name,
            "parser": dataset.parser_version,
            "profile": sorted(_entries_of(school, infos)),
            "meanings": {info.name: _plain(meanings.get(info.kind, {})) for info in infos},
            "settings": _settings(school, connector),
        }
    )


def _entries_of(school: School, infos: list[KindInfo]) -> set[str]:
    """Return the entries of the data profile that concern the kinds of a dataset."""
    names = {info.name for info in infos}
    return {entry for entry in school.data_profile if entry.partition(".")[0] in names}


def _plain(meanings: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    return {field: dict(codes) for field, codes in meanings.items()}


def _settings(school: School, connector: Connector) -> dict[str, str]:
    return {
        spec.name: school.settings.get(spec.name, spec.default) for spec in connector.settings if spec.scope
    }


def _digest(parts: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()
