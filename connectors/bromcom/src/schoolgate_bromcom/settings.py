"""What a school's registration must say for this connector, and the same as typed values."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from schoolgate_bromcom.configured import AGREEMENT_SETTINGS, COLUMN_SETTINGS, check_configured
from schoolgate_bromcom.datasets import DATASETS, dataset_of_entity
from schoolgate_sdk import AuthInvalid, FieldSpec, Identity, Unsupported
from schoolgate_sdk.traffic import PausesFor

SETTINGS: Final = (
    FieldSpec(
        "base_url", "where the Partner API is", default="https://api.bromcomcloud.com/v2", endpoint=True
    ),
    FieldSpec(
        "plain_http",
        '"yes" sends the credentials unencrypted to an http base_url beyond this machine; for test networks',
        default="no",
        endpoint=True,
        scope=False,
    ),
    FieldSpec("school_number", "the school's number at Bromcom, sent as schoolId", required=True),
    FieldSpec(
        "person_id_is_student_id",
        '"yes" where personID of a group\'s member equals studentId; read where pupils carry no personId',
        default="no",
    ),
    FieldSpec("page_size", "rows that Bromcom puts on a full page", default="100000", scope=False),
    FieldSpec(
        "request_timeout_seconds",
        "longest time for one request, its answer included",
        default="300",
        scope=False,
    ),
    FieldSpec("read_attempts", "how often a read is tried before it is given up", default="5", scope=False),
    FieldSpec(
        "retry_wait_seconds",
        "upper bound of the first wait between attempts; it doubles",
        default="1",
        scope=False,
    ),
    FieldSpec(
        "pauses_for",
        'whom Bromcom means when it asks for a pause (HTTP 429), which is not known: "host", everybody who '
        'asks there, or "school"',
        default="host",
        scope=False,
    ),
    FieldSpec(
        "max_response_mib",
        "largest answer that is read, in MiB after decompression; 100,000 rows of the widest entity have 103",
        default="128",
        scope=False,
    ),
    *AGREEMENT_SETTINGS,
    *COLUMN_SETTINGS,
    *(
        FieldSpec(f"entity_{dataset.name}", f"the entity that holds {dataset.name}", default=dataset.entity)
        for dataset in DATASETS
        if dataset is dataset_of_entity(dataset.entity)
    ),
)
"""Every setting, with its default."""

CREDENTIALS: Final = (
    FieldSpec("application_id", "ApplicationId of the partner application (a GUID)", required=True),
    FieldSpec("application_secret", "ApplicationSecret of the partner application", required=True),
)
"""Both are sent as headers with every request."""

_ENTITY: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}", re.ASCII)
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e]{1,512}")


@dataclass(frozen=True, slots=True)
class BromcomSettings:
    """The settings of one school, checked.

    ``entities`` maps an entity's usual name to its name at this school. Sizes are in rows and bytes, times in
    seconds.
    """

    base_url: str
    school_number: int
    page_size: int
    request_timeout: float
    read_attempts: int
    retry_wait: float
    max_response: int
    pauses_for: PausesFor = PausesFor.HOST
    entities: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> BromcomSettings:
        """Return ``given`` as typed values.

        Raises:
            Unsupported: a setting is malformed or out of range; the message names it.
        """
        values = {spec.name: given.get(spec.name) or spec.default for spec in SETTINGS}
        for name in ("person_id_is_student_id", "plain_http"):
            if values[name] not in {"yes", "no"}:
                raise Unsupported(f'setting {name} must be "yes" or "no"')
        check_configured(values)
        return cls(
            base_url=_base_url(values["base_url"], plain_http=values["plain_http"] == "yes"),
            school_number=_integer(values, "school_number", 1, 2**31 - 1),
            page_size=_integer(values, "page_size", 1, 1_000_000),
            request_timeout=_seconds(values, "request_timeout_seconds", 3600),
            read_attempts=_integer(values, "read_attempts", 1, 20),
            retry_wait=_seconds(values, "retry_wait_seconds", 60),
            max_response=_integer(values, "max_response_mib", 1, 2048) << 20,
            pauses_for=_pauses_for(values["pauses_for"]),
            entities={
                dataset.entity: _entity(values, f"entity_{dataset_of_entity(dataset.entity).name}")
                for dataset in DATASETS
            },
        )


def check_credentials(given: Mapping[str, str]) -> tuple[str, str]:
    """Return ``application_id`` and ``application_secret``.

    Raises:
        AuthInvalid: one is missing, or holds what no header can; its value is not quoted.
    """
    for spec in CREDENTIALS:
        if not _HEADER_VALUE.fullmatch(given.get(spec.name, "")):
            raise AuthInvalid(f"credential {spec.name} is missing or malformed", identity=Identity.PARTNER)
    return given["application_id"], given["application_secret"]


def _pauses_for(value: str) -> PausesFor:
    try:
        return PausesFor(value)
    except ValueError:
        raise Unsupported('setting pauses_for must be "host" or "school"') from None


def _base_url(value: str, *, plain_http: bool) -> str:
    wrong = Unsupported("setting base_url must be an http or https address without query or user name")
    try:
        parts = urlsplit(value)
        host = parts.hostname if parts.scheme in {"https", "http"} and parts.port != 0 else None
    except ValueError as error:
        raise wrong from error
    if not host or parts.query or parts.fragment or parts.username or parts.password:
        raise wrong
    if parts.scheme == "http" and not plain_http and not _is_loopback(host):
        raise Unsupported(
            "setting base_url must be an https address: over http the network sees the credentials; on a "
            'test network, setting plain_http "yes" accepts that'
        )
    return value.rstrip("/")


def _is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine; other names than localhost are not looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _integer(values: Mapping[str, str], name: str, least: int, most: int) -> int:
    value = values[name]
    if not (value.isascii() and value.isdigit() and len(value) <= 12 and least <= int(value) <= most):
        raise Unsupported(f"setting {name} must be an integer from {least} to {most}")
    return int(value)


def _seconds(values: Mapping[str, str], name: str, most: float) -> float:
    try:
        found = float(values[name])
    except ValueError:
        found = -1.0
    if not 0 < found <= most:
        raise Unsupported(f"setting {name} must be a number of seconds above 0, at most {most}")
    return found


def _entity(values: Mapping[str, str], name: str) -> str:
    if not _ENTITY.fullmatch(values[name]):
        raise Unsupported(f"setting {name} must be the name of an entity: letters, digits and underscores")
    return values[name]
