"""What a school's registration must say for this connector, and the same as typed values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schoolgate_sdk import AuthInvalid, FieldSpec, Identity, Unsupported
from schoolgate_sdk.traffic import PausesFor
from schoolgate_wonde import fields, setting_values

SETTINGS: Final = (
    FieldSpec(
        "base_url",
        "where Wonde is for this school's region; the wrong one answers, and has no data",
        default="https://api.wonde.com/v1.0",
        endpoint=True,
    ),
    FieldSpec(
        "plain_http",
        '"yes" sends the token unencrypted to an http base_url beyond this machine; for test networks',
        default="no",
        endpoint=True,
        scope=False,
    ),
    FieldSpec("school_id", "the school's id at Wonde, such as A1930499544", required=True),
    FieldSpec(
        "updated_after_zone",
        "the time zone of updated_after, and of the times of writes",
        default="Europe/London",
        scope=False,
    ),
    FieldSpec("page_size", "rows asked for at once, as per_page", default="100", scope=False),
    FieldSpec(
        "request_timeout_seconds",
        "longest time for one request, its answer included",
        default="120",
        scope=False,
    ),
    FieldSpec("read_attempts", "how often a read is tried", default="5", scope=False),
    FieldSpec(
        "retry_wait_seconds",
        "upper bound of the first wait between attempts; it doubles",
        default="1",
        scope=False,
    ),
    FieldSpec(
        "pauses_for",
        'whom Wonde means when it asks for a pause (HTTP 429), which is not known: "host", everybody who '
        'asks there, or "school"',
        default="host",
        scope=False,
    ),
    FieldSpec(
        "max_response_mib",
        "largest answer that is read, in MiB after decompression",
        default="32",
        scope=False,
    ),
    FieldSpec(
        "behaviour_writes",
        '"yes" where the forms of POST behaviours and achievements, which are not public, were found to be '
        "those of the README",
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
    request_timeout: float
    read_attempts: int
    retry_wait: float
    pauses_for: PausesFor
    max_response: int
    behaviour_writes: bool
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
            request_timeout=setting_values.seconds(values, "request_timeout_seconds", 3600),
            read_attempts=setting_values.integer(values, "read_attempts", 1, 20),
            retry_wait=setting_values.seconds(values, "retry_wait_seconds", 60),
            pauses_for=PausesFor(setting_values.choice(values, "pauses_for", "host", "school")),
            max_response=setting_values.integer(values, "max_response_mib", 1, 1024) << 20,
            behaviour_writes=setting_values.choice(values, "behaviour_writes", "yes", "no") == "yes",
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
