"""What a school's registration must say for this connector, and the same as typed values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from schoolgate_bromcom.configured import (
    AGREEMENT_SETTINGS,
    COLUMN_SETTINGS,
    WRITE_SETTINGS,
    check_configured,
    entity_name,
)
from schoolgate_bromcom.datasets import DATASETS, dataset_of_entity
from schoolgate_bromcom.result_settings import RESULT_SETTINGS
from schoolgate_bromcom.surfaces import ACCOUNT, SURFACE_SETTINGS
from schoolgate_sdk import AuthInvalid, FieldSpec, Identity, setting_values
from schoolgate_sdk.http import HttpOptions
from schoolgate_sdk.http_settings import http_options, http_settings, plain_http_setting

SETTINGS: Final = (
    FieldSpec(
        "base_url", "where the Partner API is", default="https://api.bromcomcloud.com/v2", endpoint=True
    ),
    plain_http_setting("credentials"),
    FieldSpec("school_number", "the school's number at Bromcom, sent as schoolId", required=True),
    FieldSpec(
        "person_id_is_student_id",
        '"yes" where personID of a group\'s member equals studentId; read where pupils carry no personId',
        default="no",
    ),
    FieldSpec("page_size", "rows that Bromcom puts on a full page", default="100000", scope=False),
    *http_settings(
        "Bromcom",
        timeout=300,
        max_response_mib=128,
        size="100,000 rows of the widest entity have 103",
    ),
    *SURFACE_SETTINGS,
    *AGREEMENT_SETTINGS,
    *COLUMN_SETTINGS,
    *WRITE_SETTINGS,
    *RESULT_SETTINGS,
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
    http: HttpOptions
    entities: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> BromcomSettings:
        """Return ``given`` as typed values.

        Raises:
            Unsupported: a setting is malformed or out of range; the message names it.
        """
        values = {spec.name: given.get(spec.name) or spec.default for spec in SETTINGS}
        setting_values.choice(values, "person_id_is_student_id", "yes", "no")
        plain = setting_values.choice(values, "plain_http", "yes", "no") == "yes"
        check_configured(values)
        return cls(
            base_url=setting_values.address(values, "base_url", plain_http=plain),
            school_number=setting_values.integer(values, "school_number", 1, 2**31 - 1),
            page_size=setting_values.integer(values, "page_size", 1, 1_000_000),
            http=http_options("Bromcom", values, identity=Identity.PARTNER, most_response_mib=2048),
            entities={
                dataset.entity: entity_name(values, f"entity_{dataset_of_entity(dataset.entity).name}")
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
