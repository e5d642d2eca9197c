"""Checking requests: what their fields have in common."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence

from schoolgate.v1 import error_reason_pb2 as r
from schoolgate.v1 import kind_pb2
from schoolgate_sdk import KINDS, KindInfo
from schoolgate_server.model.checks import FoundViolations, has_form_of_record_id, is_iso_date

SCHOOL_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_RUN_ID = re.compile(r"run_[0-9A-Za-z]{1,64}")
_WRITE_ID = re.compile(r"wrt_[0-9a-f]{32}")
_UUID = re.compile(r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

LONGEST_NAME = 80
"""Characters of a name that a caller may give for something of ours, and that an error repeats of any."""

_LONGEST_COMMENT = 2000


def echo(name: str) -> str:
    """Return what an error repeats of a name that a caller gave."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


class Violations(FoundViolations):
    """What is wrong with one request of the API."""

    def school_id(self, value: str, field: str = "school_id") -> None:
        if not SCHOOL_ID.fullmatch(value):
            self.add(
                field,
                "must be 1 to 63 lower-case letters, digits and hyphens, beginning with a letter or digit",
            )

    def run_id(self, value: str) -> None:
        if not _RUN_ID.fullmatch(value):
            self.add("run_id", 'must be the id of a run ("run_…")')

    def write_id(self, value: str) -> None:
        if not _WRITE_ID.fullmatch(value):
            self.add("write_id", 'must be the id of a write ("wrt_…")')

    def record_id(self, value: str, field: str = "record_id") -> None:
        if not has_form_of_record_id(value):
            self.add(field, 'must be the id of a record ("stu_…")')

    def request_id(self, value: str) -> None:
        if not _UUID.fullmatch(value):
            self.add("request_id", "must be a UUID, made anew for each logical request")

    def comment(self, value: str) -> None:
        """Note a reason for the audit that is too long. It may have lines."""
        if len(value) > _LONGEST_COMMENT:
            self.add("comment", f"must have at most {_LONGEST_COMMENT} characters")

    def each_once(self, values: Sequence[Hashable], field: str, *, maximum: int, what: str) -> None:
        """Note values that are too many, or named more than once; ``what`` is what one of them is."""
        if len(values) > maximum:
            self.add(field, f"must be at most {maximum}")
        elif len(set(values)) < len(values):
            self.add(field, f"must name each {what} once")

    def kind(self, value: kind_pb2.Kind.ValueType, field: str = "kind") -> KindInfo | None:
        """Return the kind's description, or ``None`` after noting that there is none."""
        info = KINDS.get(value)
        if info is None:
            self.add(field, "must be a kind of this API, for example KIND_STUDENT")
        return info

    def iso_date(self, value: str, field: str) -> None:
        if not is_iso_date(value):
            self.add(field, "must be an ISO 8601 date (YYYY-MM-DD)")

    def size(self, value: int, *, default: int, maximum: int, field: str = "page_size") -> int:
        """Return ``value``, or ``default`` for 0; note a value outside 1 to ``maximum``."""
        if not 0 <= value <= maximum:
            self.add(
                field,
                f"must be between 1 and {maximum}; 0 means {default}",
                r.ERROR_REASON_PAGE_SIZE_INVALID,
                {"maximum": str(maximum)},
            )
        return value or default

    def text(self, value: str, field: str, *, maximum: int, required: bool = False) -> None:
        """Note a text that is too long, holds control characters, or is missing where it is required."""
        if required and not value.strip():
            self.add(field, "must be given")
        elif len(value) > maximum:
            self.add(field, f"must have at most {maximum} characters")
        elif not value.isprintable():
            self.add(field, "must not hold control characters")
