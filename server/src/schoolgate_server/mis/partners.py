"""Credentials of a partner: those of whoever runs schoolgate, for all schools that one application reads.

They come from a TOML file with one table per connector, which is read again at every session, so that they
are rotated without a restart::

    [bromcom]
    credentials = { application_id = "…", application_secret = "…" }
    settings = { base_url = "https://…" }
    schools.oak = { school_number = "20001" }
    schools.elm = { school_number = "20002" }

``settings`` are those of the connector that say where credentials are sent. A school gets the partner's
credentials only while its own are the same: whoever may change a school's address must not have them sent
there. ``schools`` are those that get them at all, each with the settings by which the MIS knows it: whoever
may change one school's registration must not read another school with them (G17).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Protocol, TypeAlias

from loguru import logger
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from schoolgate_sdk import Connector, Identity
from schoolgate_server.model.clock import Clock


class Partners(Protocol):
    """The partners' credentials of a server."""

    def credentials(
        self, connector: Connector, school_id: str, settings: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Return those for a school, by its id and settings, of ``connector``; empty without."""
        ...

    def changed_at(self, connector_name: str) -> datetime | None:
        """Return since when a connector's are what they are (UTC); ``None`` where there are none."""
        ...


class _NoPartners:
    """Stands where a server has no credentials of its own: each school has all of them."""

    def credentials(
        self, connector: Connector, school_id: str, settings: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Return nothing."""
        del connector, school_id, settings
        return {}

    def changed_at(self, connector_name: str) -> datetime | None:
        """Return ``None``."""
        del connector_name
        return None


NO_PARTNERS: Final[Partners] = _NoPartners()


class PartnersInvalid(ValueError):
    """The file cannot be used; the text says what is wrong, and repeats no value."""


_KnownBy: TypeAlias = Annotated[dict[str, str], Field(min_length=1)]
"""Settings by which the MIS knows a school: without any, a listed school could be pointed at all of them."""


class _Partner(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    credentials: dict[str, str] = Field(min_length=1, repr=False)
    settings: dict[str, str] = Field(default_factory=dict[str, str])
    schools: dict[str, _KnownBy] = Field(min_length=1)


_SETTLED: Final = 2.0
"""Seconds after which a file counts as written: until then, what it lacks may be yet to come."""

_FILE = TypeAdapter(dict[str, _Partner])


class PartnersFile:
    """The partner's credentials as the file has them now.

    What is in it at the start counts as new since the file was written, what is found to differ later since
    then: a file that is written again with the same content changes nothing. One that was cut at the end of a
    line is TOML too, so a connector, a school or a name is gone once it is gone from a file that is not just
    being written.

    Raises:
        PartnersInvalid: at the start, the file cannot be used. Later that is logged, and what was read before
            stays in use.
    """

    def __init__(self, path: Path, remember_secrets: Callable[[Iterable[str]], None], clock: Clock) -> None:
        self._path = path
        self._remember = remember_secrets
        self._clock = clock
        self._partners = self._read()
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        self._changed_at = dict.fromkeys(self._partners, written)

    def credentials(
        self, connector: Connector, school_id: str, settings: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Return what the file has for ``connector`` and the school, whose ``settings`` are those
        by which it is listed, and point to where credentials may be sent.
        """
        self._look()
        partner = self._partners.get(connector.name)
        if partner is None:
            return {}
        given = {spec.name: settings.get(spec.name) or spec.default for spec in connector.settings}
        known_by = partner.schools.get(school_id)
        if known_by is None or any(given.get(name) != value for name, value in known_by.items()):
            return {}
        for spec in connector.settings:
            ours = spec.endpoint and spec.identity is not Identity.SCHOOL
            if ours and given[spec.name] != partner.settings.get(spec.name, spec.default):
                return {}
        theirs = {spec.name for spec in connector.credentials if spec.identity is Identity.PARTNER}
        return {name: value for name, value in partner.credentials.items() if name in theirs}

    def changed_at(self, connector_name: str) -> datetime | None:
        """Return since when the file has what it has for a connector (UTC); ``None`` where it has nothing."""
        self._look()
        return self._changed_at.get(connector_name) if connector_name in self._partners else None

    def _look(self) -> None:
        """Take over what the file has by now."""
        try:
            latest = self._read()
        except PartnersInvalid as error:
            logger.warning("{}; what was read before stays in use", error)
            return
        if _names(self._partners) - _names(latest) and self._is_being_written():
            return
        changed = {name for name, partner in latest.items() if partner != self._partners.get(name)}
        self._changed_at |= dict.fromkeys(changed, self._clock())
        self._partners = latest

    def _is_being_written(self) -> bool:
        """Say whether the file, read just before, changed a moment ago."""
        try:
            return abs(self._clock().timestamp() - self._path.stat().st_mtime) < _SETTLED
        except OSError:
            return False

    def _read(self) -> dict[str, _Partner]:
        try:
            text = self._path.read_text("utf-8")
            if not text.strip():
                raise PartnersInvalid(
                    f"partners file {self._path} is empty, as one is that is being written; a comment in it "
                    "says that there are no partners"
                )
            read = _FILE.validate_python(tomllib.loads(text))
        except OSError as error:
            raise PartnersInvalid(f"partners file {self._path}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, RecursionError):
            raise PartnersInvalid(f"partners file {self._path} is no TOML") from None  # it may quote a line
        except (ValidationError, UnicodeDecodeError):
            raise PartnersInvalid(
                f"partners file {self._path}: a table per connector, with credentials and settings of text, "
                "and schools, each with the settings by which the MIS knows it"
            ) from None
        for partner in read.values():
            self._remember(partner.credentials.values())
        return read


def _names(partners: Mapping[str, _Partner]) -> set[tuple[str, ...]]:
    """Return what there is in a file, by name: values may change at any time."""
    return {(name,) for name in partners} | {
        (name, part, each)
        for name, partner in partners.items()
        for part, given in (
            ("credentials", partner.credentials),
            ("settings", partner.settings),
            ("schools", partner.schools),
        )
        for each in given
    }
