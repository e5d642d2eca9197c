"""What a school's registration must say for this connector, and the same as typed values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schoolgate_sdk import AuthInvalid, FieldSpec, Identity, Unsupported, setting_values
from schoolgate_sdk.http import HttpOptions
from schoolgate_sdk.http_settings import http_options, http_settings, plain_http_setting
from schoolgate_wonde import fields

SETTINGS: Final = (
    FieldSpec(
        "base_url",
        "where Wonde is for this school's region; the wrong one answers, and has no data",
        default="https://api.wonde.com/v1.0",
        endpoint=True,
    ),
    plain_http_setting("token"),
    FieldSpec("school_id", "the school's id at Wonde, such as A1930499544", required=True),
    FieldSpec(
        "updated_after_zone",
        "the time zone of updated_after, and of the times of writes",
        default="Europe/London",
        scope=False,
    ),
    FieldSpec("page_size", "rows asked for at once, as per_page", default="100", scope=False),
    *http_settings("Wonde", timeout=120, max_response_mib=32),
    FieldSpec(
        "behaviour_writes",
        '"yes" where the forms of POST behaviours and achievements, which are not public, were found to be '
        "those of the README",
        default="no",
        scope=False,
    ),
    FieldSpec(
        "lesson_mark_writes",
        '"yes" where marks of lessons were found to be taken at attendance/lesson, in the same outer form as '
        "those of sessions; only the inner form is public",
        default="no",
        scope=False,
    ),
    FieldSpec(
        "writeback_settles_seconds",
        "after so long, a write that is not shown is taken not to have happened; how long Wonde needs is not "
        "known",
        default="86400",
        scope=False,
    ),
    *fields.FIELD_SETTINGS,
)
"""Every setting, with its default."""

CREDENTIALS: Final = (
    FieldSpec("token", "the API token, sent as a bearer", required=True, identity=Identity.PARTNER),
)

_SCHOOL: Final = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,4096}")


@dataclass(frozen=True, slots=True)
class WondeSettings:
    """The settings of one school, checked. Sizes are in rows and bytes, times in seconds."""

    base_url: str
    school_id: str
    zone: ZoneInfo
    page_size: int
    http: HttpOptions
    behaviour_writes: bool
    lesson_mark_writes: bool
    writeback_settles: float

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> WondeSettings:
        """Return ``given`` as typed values.

        Raises:
            Unsupported: a setting is malformed or out of range; the message names it.
        """
        values = {spec.name: given.get(spec.name) or spec.default for spec in SETTINGS}
        for resource in fields.DEFAULTS:
            fields.paths(resource, values)
        if not _SCHOOL.fullmatch(values["school_id"]):
            raise Unsupported("setting school_id must be an id: letters, digits, - and _")
        plain = setting_values.choice(values, "plain_http", "yes", "no") == "yes"
        return cls(
            base_url=setting_values.address(values, "base_url", plain_http=plain),
            school_id=values["school_id"],
            zone=_zone(values["updated_after_zone"]),
            page_size=setting_values.integer(values, "page_size", 1, 10_000),
            http=http_options("Wonde", values, identity=Identity.PARTNER, most_response_mib=1024),
            behaviour_writes=setting_values.choice(values, "behaviour_writes", "yes", "no") == "yes",
            lesson_mark_writes=setting_values.choice(values, "lesson_mark_writes", "yes", "no") == "yes",
            writeback_settles=setting_values.seconds(values, "writeback_settles_seconds", 30 * 86_400),
        )


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Unsupported("setting updated_after_zone must be a time zone, such as Europe/London") from None


def token_of(given: Mapping[str, str]) -> str:
    """Return the token.

    Raises:
        AuthInvalid: it is missing, or holds what no header can; its value is not quoted.
    """
    token = given.get("token", "")
    if not _TOKEN.fullmatch(token):
        raise AuthInvalid("credential token is missing or malformed", identity=Identity.PARTNER)
    return token
