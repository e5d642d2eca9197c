"""What a school's registration must say for this connector, and the same as typed values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from schoolgate_bromcom import setting_values
from schoolgate_bromcom.configured import (
    AGREEMENT_SETTINGS,
    COLUMN_SETTINGS,
    WRITE_SETTINGS,
    check_configured,
)
from schoolgate_bromcom.datasets import DATASETS, dataset_of_entity
from schoolgate_bromcom.surfaces import ACCOUNT, SURFACE_SETTINGS
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
    *SURFACE_SETTINGS,
    *AGREEMENT_SETTINGS,
    *COLUMN_SETTINGS,
    *WRITE_SETTINGS,
    *(
        FieldSpec(f"entity_{dataset.name}", f"the entity that holds {dataset.name}", default=dataset.entity)
        for dataset in DATASETS
        if dataset is dataset_of_entity(dataset.entity)
    ),
)
"""Every setting, with its default."""

CREDENTIALS: Final = (
    FieldSpec(
        "application_id", "ApplicationId of the partner application (a GUID)", identity=Identity.PARTNER
    ),
    FieldSpec(
        "application_secret", "ApplicationSecret of the partner application", identity=Identity.PARTNER
    ),
    *ACCOUNT,
)
"""The application's are sent as headers with every request to the Partner API, the account's in the body of
requests to the SOAP services. Which are needed depends on the surfaces in use.
"""

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
            base_url=setting_values.address(values, "base_url", plain_http=values["plain_http"] == "yes"),
            school_number=setting_values.integer(values, "school_number", 1, 2**31 - 1),
            page_size=setting_values.integer(values, "page_size", 1, 1_000_000),
            request_timeout=setting_values.seconds(values, "request_timeout_seconds", 3600),
            read_attempts=setting_values.integer(values, "read_attempts", 1, 20),
            retry_wait=setting_values.seconds(values, "retry_wait_seconds", 60),
            max_response=setting_values.integer(values, "max_response_mib", 1, 2048) << 20,
            pauses_for=_pauses_for(values["pauses_for"]),
            entities={
                dataset.entity: setting_values.entity(
                    values, f"entity_{dataset_of_entity(dataset.entity).name}"
                )
                for dataset in DATASETS
            },
        )


def application_of(given: Mapping[str, str]) -> tuple[str, str] | None:
    """Return ``application_id`` and ``application_secret``, or ``None`` where neither is there.

    Raises:
        AuthInvalid: one is missing, or holds what no header can; its value is not quoted.
    """
    names = ("application_id", "application_secret")
    if not any(given.get(name) for name in names):
        return None
    for name in names:
        if not _HEADER_VALUE.fullmatch(given.get(name, "")):
            raise AuthInvalid(f"credential {name} is missing or malformed", identity=Identity.PARTNER)
    return given["application_id"], given["application_secret"]


def _pauses_for(value: str) -> PausesFor:
    try:
        return PausesFor(value)
    except ValueError:
        raise Unsupported('setting pauses_for must be "host" or "school"') from None
