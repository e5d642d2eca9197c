"""Credentials of a partner: those of whoever runs schoolgate, for all schools that one application reads.

They come from a TOML file with one table per connector, which is read again at every session, so that they
are rotated without a restart::

    [bromcom]
    credentials = { application_id = "…", application_secret = "…" }
    settings = { base_url = "https://…" }

``settings`` are those of the connector that say where credentials are sent. A school gets the partner's
credentials only while its own are the same: whoever may change a school's address must not have them sent
there.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from loguru import logger
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from schoolgate_sdk import Connector, Identity

Partners: TypeAlias = Callable[[Connector, Mapping[str, str]], Mapping[str, str]]
"""Returns the partner's credentials for a school of a connector with these settings; empty without any."""


def no_partners(connector: Connector, settings: Mapping[str, str]) -> Mapping[str, str]:
    """Stand where a server has no credentials of its own: each school has all of them."""
    del connector, settings
    return {}


class PartnersInvalid(ValueError):
    """The file cannot be used; the text says what is wrong, and repeats no value."""


class _Partner(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    credentials: dict[str, str] = Field(min_length=1, repr=False)
    settings: dict[str, str] = Field(default_factory=dict[str, str])


_FILE = TypeAdapter(dict[str, _Partner])


class PartnersFile:
    """The partner's credentials as the file has them now.

    Raises:
        PartnersInvalid: at the start, the file cannot be used. Later that is logged, and what was read before
            stays in use.
    """

    def __init__(self, path: Path, remember_secrets: Callable[[Iterable[str]], None]) -> None:
        self._path = path
        self._remember = remember_secrets
        self._partners = self._read()

    def __call__(self, connector: Connector, settings: Mapping[str, str]) -> Mapping[str, str]:
        """Return what the file has for ``connector``, where ``settings`` point to where it may be sent."""
        try:
            self._partners = self._read()
        except PartnersInvalid as error:
            logger.warning("{}; what was read before stays in use", error)
        partner = self._partners.get(connector.name)
        if partner is None:
            return {}
        for spec in connector.settings:
            ours = spec.endpoint and spec.identity is not Identity.SCHOOL
            own = settings.get(spec.name) or spec.default
            if ours and own != partner.settings.get(spec.name, spec.default):
                return {}
        theirs = {spec.name for spec in connector.credentials if spec.identity is Identity.PARTNER}
        return {name: value for name, value in partner.credentials.items() if name in theirs}

    def _read(self) -> dict[str, _Partner]:
        try:
            read = _FILE.validate_python(tomllib.loads(self._path.read_text("utf-8")))
        except OSError as error:
            raise PartnersInvalid(f"partners file {self._path}: {error.strerror}") from None
        except tomllib.TOMLDecodeError:
            raise PartnersInvalid(f"partners file {self._path} is no TOML") from None  # it may quote a line
        except (ValidationError, UnicodeDecodeError):
            raise PartnersInvalid(
                f"partners file {self._path}: a table per connector, with credentials and settings of text"
            ) from None
        for partner in read.values():
            self._remember(partner.credentials.values())
        return read
