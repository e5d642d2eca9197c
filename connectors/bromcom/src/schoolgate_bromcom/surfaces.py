"""Which of Bromcom's surfaces a school's datasets are read from: settings, the account, and the choice.

The Partner API asks with the application's credentials, and the school grants the application its entities.
The SOAP services ask with an account that the school manages, and the school ticks entities for it. Both show
the same database; which rows each shows is up to what the school granted there.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from schoolgate_bromcom.configured import entity_name
from schoolgate_bromcom.datasets import DATASETS
from schoolgate_sdk import AuthInvalid, FieldSpec, Identity, setting_values

_SOAP_URL: Final = "https://cloudmis.bromcom.com/Nucleus/WebServices/ThirdParty/TPReadOnlyDataService.asmx"
_LONGEST_CREDENTIAL: Final = 512


class Surface(enum.Enum):
    """One way to read a school's data."""

    PARTNER = "partner"
    SOAP = "soap"

    @property
    def other(self) -> Surface:
        """The other way."""
        return Surface.SOAP if self is Surface.PARTNER else Surface.PARTNER


_CHOICES: Final = tuple(surface.value for surface in Surface)

SURFACE_SETTINGS: Final = (
    FieldSpec(
        "surface",
        'where datasets are read: "partner" (Partner API 2.0) or "soap" (the SOAP third-party services)',
        default="partner",
    ),
    FieldSpec(
        "surface_fallback",
        '"yes" reads a dataset from the other surface where its own refuses or lacks the entity, as far as '
        "the school has credentials for both",
        default="yes",
        scope=False,
    ),
    FieldSpec(
        "soap_url",
        "where the SOAP services for reading are",
        default=_SOAP_URL,
        endpoint=True,
        identity=Identity.SCHOOL,
    ),
    FieldSpec(
        "soap_timeout_seconds",
        "longest silence of the SOAP services, from a request to the answer's beginning and within it",
        default="600",
        scope=False,
    ),
    FieldSpec(
        "soap_max_response_mib",
        "largest answer of the SOAP services, in MiB after decompression; it is never in memory as a whole",
        default="2048",
        scope=False,
    ),
    *(
        FieldSpec(f"surface_{dataset.name}", f"where {dataset.name} are read; empty: as surface says")
        for dataset in DATASETS
    ),
    *(
        FieldSpec(
            f"soap_entity_{dataset.name}",
            f"the entity that holds {dataset.name} over SOAP; empty: the one that the Partner API has",
        )
        for dataset in DATASETS
    ),
)
"""Every setting about surfaces."""

ACCOUNT: Final = (
    FieldSpec(
        "soap_username",
        "user name of the account that the school keeps for the SOAP services",
        identity=Identity.SCHOOL,
    ),
    FieldSpec("soap_password", "password of that account", identity=Identity.SCHOOL),
)
"""The school's own credentials, sent in the body of every SOAP request that needs them."""


@dataclass(frozen=True, slots=True)
class SchoolAccount:
    """The school's account for the SOAP services."""

    username: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SurfaceSettings:
    """The settings of one school about surfaces, checked. Times are in seconds, sizes in bytes.

    ``chosen`` has the surface of every dataset, ``entities`` the entity of every dataset over SOAP where it
    has another name there.
    """

    soap_url: str
    soap_timeout: float
    soap_max_response: int
    falls_back: bool
    chosen: Mapping[str, Surface]
    entities: Mapping[str, str]

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> SurfaceSettings:
        """Return ``given`` as typed values.

        Raises:
            Unsupported: a setting is malformed or out of range; the message names it.
        """
        values = {spec.name: given.get(spec.name) or spec.default for spec in SURFACE_SETTINGS}
        usual = setting_values.choice(values, "surface", *_CHOICES)
        chosen: dict[str, Surface] = {}
        entities: dict[str, str] = {}
        for dataset in DATASETS:
            name = f"surface_{dataset.name}"
            values[name] = values[name] or usual
            chosen[dataset.name] = Surface(setting_values.choice(values, name, *_CHOICES))
            if values[f"soap_entity_{dataset.name}"]:
                entities[dataset.name] = entity_name(values, f"soap_entity_{dataset.name}")
        return cls(
            soap_url=setting_values.address(values, "soap_url", plain_http=given.get("plain_http") == "yes"),
            soap_timeout=setting_values.seconds(values, "soap_timeout_seconds", 3600),
            soap_max_response=setting_values.integer(values, "soap_max_response_mib", 1, 8192) << 20,
            falls_back=setting_values.choice(values, "surface_fallback", "yes", "no") == "yes",
            chosen=chosen,
            entities=entities,
        )

    @property
    def in_use(self) -> frozenset[Surface]:
        """The surfaces that at least one dataset is read from."""
        return frozenset(self.chosen.values())

    def may_use(self, surface: Surface) -> bool:
        """Say whether anything is read from ``surface``, be it only where the other one refuses."""
        return surface in self.in_use or self.falls_back


def account_of(given: Mapping[str, str]) -> SchoolAccount | None:
    """Return the school's account, or ``None`` where neither of its credentials is there.

    Raises:
        AuthInvalid: one is missing, or holds what no XML text can; its value is not quoted.
    """
    names = [spec.name for spec in ACCOUNT]
    if not any(given.get(name) for name in names):
        return None
    for name in names:
        value = given.get(name, "")
        if not 0 < len(value) <= _LONGEST_CREDENTIAL or not value.isprintable():
            raise AuthInvalid(f"credential {name} is missing or malformed", identity=Identity.SCHOOL)
    return SchoolAccount(given["soap_username"], given["soap_password"])
