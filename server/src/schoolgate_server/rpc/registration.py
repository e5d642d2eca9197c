"""Checking a school's registration against its connector, the message descriptors and the time zones."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable, Iterable, Mapping, Sequence

from schoolgate.v1 import error_reason_pb2 as r
from schoolgate.v1.kind_pb2 import KIND_UNSPECIFIED
from schoolgate.v1.school_service_pb2 import CodeMapping, HoldThreshold, QuietHours, School, SyncSchedule
from schoolgate.v1.sync_service_pb2 import (
    SYNC_LAYER_CHANGES,
    SYNC_LAYER_FULL,
    SYNC_LAYER_WINDOW,
    SyncLayer,
)
from schoolgate_sdk import KINDS, Connector, FieldSpec
from schoolgate_server.model.checks import is_iso_date
from schoolgate_server.model.codes import meaning_number
from schoolgate_server.model.profile import CORE_PROFILE, expand
from schoolgate_server.model.quiet import DEFAULT_TIME_ZONE, END_OF_DAY
from schoolgate_server.rpc.checks import LONGEST_NAME, Violations, echo

# A school is one document with the results of its latest 20 requests beside it, and MongoDB takes 16 MB.
_LONGEST_TITLE = 200
_LONGEST_SETTING = 1000
_MOST_SETTINGS = 20_000
_LONGEST_CREDENTIAL = 2000
_LONGEST_CODE = 32
_SCHEDULED = (SYNC_LAYER_FULL, SYNC_LAYER_WINDOW, SYNC_LAYER_CHANGES)
_LONGEST_INTERVAL = 31 * 24 * 60
_LONGEST_WINDOW = 400
_TIME_OF_DAY = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d", re.ASCII)
_WEEKDAYS = frozenset(range(1, 8))
_MOST_ENTRIES = {
    "data_profile": 1000,
    "code_mappings": 2000,
    "hold_thresholds": len(KINDS) + 1,
    "schedules": len(_SCHEDULED),
    "quiet_hours": 20,
}


def _named_values(
    given: Mapping[str, str], specs: Sequence[FieldSpec], field: str, longest: int, violations: Violations
) -> None:
    """Note names that the connector does not know, and required ones that are missing or empty.

    Unknown names are counted and not repeated: a secret may have been put where its name belongs.
    """
    known = {spec.name for spec in specs}
    unknown = len(given.keys() - known)
    if unknown:
        offered = ", ".join(sorted(known)) or "none"
        violations.add(
            field, f"must have only names that the connector knows ({offered}); {unknown} given are not"
        )
    for name in sorted(given.keys() & known):
        violations.text(given[name], f"{field}[{name!r}]", maximum=longest)
    for spec in specs:
        if spec.required and not given.get(spec.name):
            violations.add(f"{field}[{spec.name!r}]", f"must be given: {spec.description}")


def check_settings(
    given: Mapping[str, str], connector: Connector, violations: Violations, field: str = "school.settings"
) -> None:
    """Note what is wrong with a school's connector settings."""
    if sum(map(len, given.values())) > _MOST_SETTINGS:
        violations.add(field, f"must have at most {_MOST_SETTINGS:,} characters in all values together")
        return
    _named_values(given, connector.settings, field, _LONGEST_SETTING, violations)


def check_parser_versions(
    given: Mapping[str, int],
    connector: Connector,
    violations: Violations,
    field: str = "school.parser_versions",
) -> None:
    """Note parser versions that the connector's datasets do not have, with those that they have."""
    datasets = {dataset.name: dataset for dataset in connector.datasets}
    for name in sorted(given)[: len(datasets) + 1]:
        dataset = datasets.get(name)
        if dataset is None:
            offered = ", ".join(datasets)
            violations.add(field, f"must name datasets of the connector ({offered}); {echo(name)!r} is none")
        elif given[name] not in dataset.parser_versions:
            available = ", ".join(map(str, dataset.parser_versions))
            violations.add(
                f"{field}[{name!r}]",
                f"must be a version of the dataset's parser ({available})",
                r.ERROR_REASON_PARSER_VERSION_UNKNOWN,
                {"dataset": name, "version": str(given[name]), "available": available},
            )


def check_credentials(given: Mapping[str, str], connector: Connector, violations: Violations) -> None:
    """Note what is wrong with a complete set of credentials; values are never repeated."""
    _named_values(given, connector.credentials, "credentials", _LONGEST_CREDENTIAL, violations)


def _check_profile(entries: Sequence[str], violations: Violations) -> None:
    if not entries:
        violations.add("school.data_profile", "must name at least one field")
    for index, entry in enumerate(entries):
        if len(entry) > LONGEST_NAME:
            violations.text(entry, f"school.data_profile[{index}]", maximum=LONGEST_NAME)
            continue
        try:
            expand(entry)
        except ValueError as error:
            violations.add(f"school.data_profile[{index}]", str(error))


def _check_mappings(mappings: Iterable[CodeMapping], violations: Violations) -> None:
    seen: set[tuple[str, str]] = set()
    for index, mapping in enumerate(mappings):
        place = f"school.code_mappings[{index}]"
        longest = {"field": LONGEST_NAME, "code": _LONGEST_CODE, "meaning": LONGEST_NAME}
        too_long = [name for name, most in longest.items() if len(getattr(mapping, name)) > most]
        for name in too_long:
            violations.add(f"{place}.{name}", f"must have at most {longest[name]} characters")
        if too_long:
            continue
        try:
            meaning_number(mapping.field, mapping.meaning)
        except ValueError as error:
            violations.add(place, str(error))
        if not mapping.code or mapping.code != mapping.code.strip():
            violations.add(f"{place}.code", "must be given, without blanks around it")
        if (mapping.field, mapping.code) in seen:
            violations.add(place, "maps a code that an earlier entry maps")
        seen.add((mapping.field, mapping.code))


def _check_thresholds(thresholds: Iterable[HoldThreshold], violations: Violations) -> None:
    seen: set[int] = set()
    for index, threshold in enumerate(thresholds):
        place = f"school.hold_thresholds[{index}]"
        if threshold.kind != KIND_UNSPECIFIED:
            violations.kind(threshold.kind, f"{place}.kind")
        if threshold.kind in seen:
            violations.add(f"{place}.kind", "has a threshold in an earlier entry")
        seen.add(threshold.kind)
        given = {field.name: value for field, value in threshold.ListFields() if field.name != "kind"}
        if not given:
            violations.add(place, "must give at least one of its values")
        for name, value in given.items():
            if name.endswith("_fraction"):
                if not 0 <= value <= 1:  # not a number is neither
                    violations.add(f"{place}.{name}", "must lie between 0 and 1")
            elif value < 0:
                violations.add(f"{place}.{name}", "must not be negative")


def _check_schedules(schedules: Sequence[SyncSchedule], violations: Violations) -> None:
    names = ", ".join(SyncLayer.Name(layer) for layer in _SCHEDULED)
    for index, schedule in enumerate(schedules):
        place = f"school.schedules[{index}]"
        if schedule.layer not in _SCHEDULED:
            violations.add(f"{place}.layer", f"must be one of {names}")
        elif any(schedule.layer == earlier.layer for earlier in schedules[:index]):
            violations.add(f"{place}.layer", "has a schedule in an earlier entry")
        if not 1 <= schedule.every_minutes <= _LONGEST_INTERVAL:
            violations.add(f"{place}.every_minutes", f"must lie between 1 and {_LONGEST_INTERVAL}")
        if schedule.layer != SYNC_LAYER_WINDOW:
            if schedule.window_days:
                violations.add(f"{place}.window_days", "must not be given, except for SYNC_LAYER_WINDOW")
        elif not 1 <= schedule.window_days <= _LONGEST_WINDOW:
            violations.add(f"{place}.window_days", f"must lie between 1 and {_LONGEST_WINDOW}")


def _check_quiet_hours(all_hours: Sequence[QuietHours], violations: Violations) -> None:
    for index, hours in enumerate(all_hours):
        place = f"school.quiet_hours[{index}]"
        wrong = {
            name: latest
            for name, latest in (("begins", "23:59"), ("ends", END_OF_DAY))
            if not _TIME_OF_DAY.fullmatch(given := getattr(hours, name)) and given != latest
        }
        for name, latest in wrong.items():
            violations.add(f"{place}.{name}", f'must be a local time as "HH:MM", from 00:00 to {latest}')
        if not wrong and not hours.begins < hours.ends:
            violations.add(f"{place}.ends", "must be later than begins, on the same day")
        if len(set(hours.weekdays)) != len(hours.weekdays) or not _WEEKDAYS.issuperset(hours.weekdays):
            violations.add(f"{place}.weekdays", "must be days from 1 (Monday) to 7 (Sunday), each once")


def _check_time_zone(name: str, violations: Violations) -> None:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        violations.add("school.time_zone", 'must be an IANA time zone, for example "Europe/London"')


def _check_academic_year(school: School, violations: Violations) -> None:
    if not school.HasField("academic_year"):
        return
    span = school.academic_year
    violations.text(span.name, "school.academic_year.name", maximum=_LONGEST_TITLE, required=True)
    violations.iso_date(span.valid_from, "school.academic_year.valid_from")
    violations.iso_date(span.valid_to, "school.academic_year.valid_to")
    if is_iso_date(span.valid_from) and is_iso_date(span.valid_to) and not span.valid_from < span.valid_to:
        violations.add("school.academic_year.valid_to", "must lie after valid_from")


_CHECKS: Mapping[str, Callable[[School, Violations], None]] = {
    "display_name": lambda school, violations: violations.text(
        school.display_name, "school.display_name", maximum=_LONGEST_TITLE
    ),
    "data_profile": lambda school, violations: _check_profile(school.data_profile, violations),
    "code_mappings": lambda school, violations: _check_mappings(school.code_mappings, violations),
    "time_zone": lambda school, violations: _check_time_zone(school.time_zone, violations),
    "academic_year": _check_academic_year,
    "hold_thresholds": lambda school, violations: _check_thresholds(school.hold_thresholds, violations),
    "schedules": lambda school, violations: _check_schedules(school.schedules, violations),
    "quiet_hours": lambda school, violations: _check_quiet_hours(school.quiet_hours, violations),
}
"""By field; settings are none of them: check_settings looks at those together with their connector."""


def check_fields(school: School, paths: Iterable[str], violations: Violations) -> None:
    """Note what is wrong with those of ``paths``, fields that may change, without their connector's say."""
    for name, most in _MOST_ENTRIES.items():
        if len(getattr(school, name)) > most:
            violations.add(f"school.{name}", f"must have at most {most} entries")
            return
    for path in sorted(_CHECKS.keys() & set(paths)):
        _CHECKS[path](school, violations)


def with_defaults(school: School) -> School:
    """Return a copy with what an empty field means filled in, and without what only the server sets."""
    result = School()
    result.CopyFrom(school)
    for name in ("has_credentials", "credentials_set_at", "created_at", "updated_at", "etag"):
        result.ClearField(name)
    result.time_zone = school.time_zone or DEFAULT_TIME_ZONE
    if not school.data_profile:
        result.data_profile.extend(CORE_PROFILE)
    return result
