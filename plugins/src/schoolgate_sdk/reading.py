"""Reading from a MIS: what a connector's session can offer, as small protocols.

:class:`ReadRows` is required; the server finds the others by ``isinstance``.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Protocol, runtime_checkable

from schoolgate_sdk.errors import ConnectorError
from schoolgate_sdk.keys import SourceKey
from schoolgate_sdk.parsing import Row


@dataclass(frozen=True, slots=True)
class Scope:
    """What one read of a dataset asks for.

    ``date_from`` and ``date_to`` (half-open) bound the dated rows of windowed datasets; they are ``None``
    for datasets without a window.
    """

    dataset: str
    academic_year: str
    date_from: date | None = None
    date_to: date | None = None


@dataclass(frozen=True, slots=True)
class EndOfSnapshot:
    """What the connector knows about the completeness of a read, given with its last page.

    ``terminator_proven`` may be true only if the MIS showed that nothing follows: a short page alone proves
    nothing. ``expected_rows`` is the MIS's own count, where it has one. ``contradiction`` says in a sentence
    what speaks against completeness (a short page in the middle, a page that changed when read again).
    ``changes_cursor`` is where :class:`ReadChanges` goes on from, where the session has it: a position at or
    before the beginning of this snapshot, so that nothing falls between.
    """

    terminator_proven: bool
    expected_rows: int | None = None
    contradiction: str | None = None
    changes_cursor: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Some source rows of a snapshot, in the order in which the MIS gave them.

    ``cursor`` resumes the read after this page: ``read(scope, cursor)``. ``end`` is set on the last page,
    which may have no rows.
    """

    rows: Sequence[Row] = ()
    cursor: str = ""
    end: EndOfSnapshot | None = None


class EntityGrantState(enum.Enum):
    """What the MIS answers when asked whether an entity may be read."""

    GRANTED = "granted"
    DENIED = "denied"
    UNKNOWN_ENTITY = "unknown_entity"


@runtime_checkable
class ReadRows(Protocol):
    """Reads whole datasets."""

    def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        """Yield the pages of a snapshot, from the beginning or after ``cursor``.

        Retries of what is safe to retry happen inside. Raises a
        :class:`~schoolgate_sdk.errors.ConnectorError`.
        A read that ends without a page whose ``end`` is set counts as incomplete.
        """
        ...


@runtime_checkable
class CountRows(Protocol):
    """Says how many rows the MIS has."""

    async def count(self, scope: Scope) -> int | None:
        """Return the MIS's own number of rows under ``scope``, or ``None`` where it has none for it."""
        ...


@runtime_checkable
class Grants(Protocol):
    """Says which entities the school lets us read."""

    async def grants(self, entities: Sequence[str]) -> Mapping[str, EntityGrantState]:
        """Return the state of each of ``entities``; raises when the MIS cannot be reached or refuses us."""
        ...


@dataclass(frozen=True, slots=True)
class SurfaceProbe:
    """What one of a MIS's interfaces said of what may be read there, as far as a session knows.

    ``surface`` is its name. ``grants`` are the states that it told; ``entities`` all that it names, known to
    the connector or not, or ``None`` where nobody can ask. ``failure`` is what kept it from telling more.
    """

    surface: str
    grants: Mapping[str, EntityGrantState] = field(default_factory=dict[str, EntityGrantState])
    entities: tuple[str, ...] | None = None
    failure: ConnectorError | None = None


@runtime_checkable
class ProbeSurfaces(Protocol):
    """Reads a MIS that has several interfaces, and says which one a dataset came from, and what each grants.

    What one interface shows another may not, so the server takes nothing for gone by the first snapshot from
    another one.
    """

    def read_from(self, dataset: str) -> str:
        """Return the interface from which the last read of ``dataset`` in this session got rows or an end;
        empty where none did.
        """
        ...

    async def probe(self, entities: Sequence[str]) -> Sequence[SurfaceProbe]:
        """Return what each interface told of ``entities``; one that could not says why by ``failure``.

        The server asks once a run's datasets have been read, so there is little to ask the MIS again.
        """
        ...


@runtime_checkable
class ReadBack(Protocol):
    """Reads single entities by their keys."""

    async def read_back(self, scope: Scope, keys: Sequence[SourceKey]) -> Sequence[Row]:
        """Return the rows that the MIS has for ``keys`` of ``scope.dataset``; missing ones are left out.

        The server asks with at most 200 keys at once, before it takes an absence for real. Where a session
        cannot be asked, a snapshot whose end was shown is taken at its word.
        """
        ...


@dataclass(frozen=True, slots=True)
class ChangedRows:
    """Some rows that changed in the MIS, and keys of entities that it says were deleted.

    ``cursor`` is a position at which everything up to here has been given, never one before that at which the
    read began; the server keeps it once all of this is stored. ``end`` is true where nothing follows for now.
    """

    rows: Sequence[Row] = ()
    deleted: Sequence[SourceKey] = ()
    cursor: str = ""
    end: bool = False


@runtime_checkable
class ReadChanges(Protocol):
    """Reads what changed since a position, where the MIS can be asked so. Snapshots back it all the same."""

    def changes(self, scope: Scope, cursor: str, overlap: timedelta) -> AsyncIterator[ChangedRows]:
        """Yield what changed after ``cursor`` less ``overlap``; rows that were given before do no harm.

        ``overlap`` is for positions in time, which may be given out of order at the MIS; one that counts
        leaves it aside. Raises :class:`~schoolgate_sdk.errors.CursorExpired` where the MIS no longer knows
        the position: the server then reads the dataset in full, which brings a new one.
        """
        ...


@dataclass(frozen=True, slots=True)
class ChangeHint:
    """A MIS's notice that something of ``dataset`` changed; empty ``keys`` mean the dataset as a whole."""

    dataset: str
    keys: tuple[SourceKey, ...] = ()


@runtime_checkable
class ReceiveEvents(Protocol):
    """Turns a MIS's notifications into hints."""

    def decode_event(self, headers: Mapping[str, str], body: bytes) -> Sequence[ChangeHint]:
        """Verify and decode one notification; raises ``SchemaChanged`` where it is not one."""
        ...
