"""What is sent and what comes back, of :mod:`schoolgate_sdk.http`, from which connectors import it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

_T_co = TypeVar("_T_co", covariant=True)


class Answer(NamedTuple):
    """What a MIS answered: an accepted status, the headers and the body."""

    status: int
    headers: Mapping[str, str]
    body: bytearray

    def __repr__(self) -> str:
        return f"Answer(status={self.status}, {len(self.body)} bytes)"


class Consumer(Protocol[_T_co]):
    """Takes a body as it comes. Either method may raise a ``ConnectorError``."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        ...

    def close(self) -> _T_co:
        """Return what the whole body was."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """One request. ``entity`` is what errors say it was about; only method and entity are in ``repr``.

    Redirects are never followed, for they would take the credentials along.
    """

    method: str
    url: str = field(repr=False)
    entity: str | None = None
    params: Mapping[str, str] = field(repr=False, default_factory=dict[str, str])
    headers: Mapping[str, str] = field(repr=False, default_factory=dict[str, str])
    body: bytes | None = field(repr=False, default=None)
    shown: str | None = field(repr=False, default=None)
    """What ``Departure.body`` shows in place of a body that holds credentials."""
    accept: frozenset[int] = frozenset({200})
    """Statuses that are handed to the connector; every other one is an error."""
