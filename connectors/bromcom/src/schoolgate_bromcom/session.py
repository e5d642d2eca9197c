"""A session with one school: every dataset from the surface that the school chose, or else from the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Final, Protocol

from schoolgate_bromcom.datasets import DATASETS, BromcomDataset
from schoolgate_bromcom.surfaces import Surface, SurfaceSettings
from schoolgate_sdk import (
    AuthExpired,
    AuthInvalid,
    ConnectorError,
    EntityDenied,
    EntityGrantState,
    Incomplete,
    Page,
    Row,
    RowRejected,
    Scope,
    SourceKey,
    SurfaceProbe,
    Unsupported,
    WriteReceipt,
    WriteRequest,
)

_DATASETS: Final[Mapping[str, BromcomDataset]] = {dataset.name: dataset for dataset in DATASETS}

_REFUSED: Final = (EntityDenied, Unsupported)
"""What the other surface may help with."""


class SurfaceReader(Protocol):
    """One surface, as :mod:`partner_reader` and :mod:`soap_reader` read it."""

    keys_per_request: int

    def read(self, dataset: BromcomDataset, scope: Scope, cursor: str = "") -> AsyncGenerator[Page]:
        """Yield the pages of a snapshot."""
        ...

    def found(self, dataset: BromcomDataset, predicate: str) -> AsyncGenerator[Row]:
        """Yield the rows under a predicate."""
        ...

    async def grant(self, dataset: BromcomDataset) -> EntityGrantState:
        """Ask for no row of the dataset's entity, and return what Bromcom made of that."""
        ...

    def entity_of(self, dataset: BromcomDataset) -> str:
        """Return what the dataset's entity is called here."""
        ...

    async def discover(self) -> frozenset[str] | None:
        """Return the entities that may be read, or ``None`` where nobody can be asked."""
        ...


class OperationWriter(Protocol):
    """What writes one operation."""

    async def write(self, request: WriteRequest) -> WriteReceipt:
        """See ``WriteRows``."""
        ...

    async def find(self, request: WriteRequest, receipt: WriteReceipt | None, /) -> WriteReceipt | None:
        """See ``FindWrite``."""
        ...


class BromcomSession:
    """Implements ``ReadRows``, ``ReadBack``, ``Grants``, ``ProbeSurfaces``, ``WriteRows`` and ``FindWrite``
    of the SDK. Bromcom has no count that could be asked for.

    ``readers`` are the surfaces for which there are credentials; ``writers`` has what writes each operation,
    or in its place why the school's settings and credentials do not let it be written.
    """

    def __init__(
        self,
        readers: Mapping[Surface, SurfaceReader],
        surfaces: SurfaceSettings,
        settings: Mapping[str, str],
        writers: Mapping[str, OperationWriter | str],
    ) -> None:
        self._writers = writers
        self._readers = readers
        self._surfaces = surfaces
        self._settings = settings
        self._used: dict[str, Surface] = {}
        self._told: dict[Surface, dict[str, EntityGrantState]] = {surface: {} for surface in readers}

    async def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        """Yield the pages of a snapshot; :meth:`read_from` says from which surface.

        Another surface is tried only before there is a row: half of a snapshot each proves nothing. So a
        read that goes on after ``cursor`` stays where it was, which is the Partner API, for SOAP has none.

        Raises:
            ConnectorError: as the surface's reader raises. Where the dataset's own surface refuses and the
                other refuses too, what the dataset's own said.
        """
        dataset = _dataset(scope.dataset)
        order = (Surface.PARTNER,) if cursor else self._order(dataset)
        refusal: ConnectorError | None = None
        self._used.pop(dataset.name, None)
        for surface in order:
            reader = self._readers.get(surface)
            if reader is None:
                raise Incomplete("the read began on a surface that is not in use any more")
            has_begun = False
            try:
                async with aclosing(reader.read(dataset, scope, cursor)) as pages:
                    async for page in pages:
                        has_begun = True
                        self._used[dataset.name] = surface
                        self._told[surface][dataset.entity] = EntityGrantState.GRANTED
                        yield page
                return
            except _REFUSED as error:
                is_denied = isinstance(error, EntityDenied)
                self._told[surface][dataset.entity] = (
                    EntityGrantState.DENIED if is_denied else EntityGrantState.UNKNOWN_ENTITY
                )
                if has_begun:
                    raise
                refusal = refusal or error
            except (AuthInvalid, AuthExpired):
                if refusal is None:
                    raise
        assert refusal is not None
        raise refusal

    def read_from(self, dataset: str) -> str:
        """Return the surface from which the dataset was read last in this session; empty before."""
        used = self._used.get(dataset)
        return "" if used is None else used.value

    def _order(self, dataset: BromcomDataset) -> tuple[Surface, ...]:
        """Return the surfaces to try for a dataset, its own first."""
        own = self._surfaces.chosen[dataset.name]
        falls_back = self._surfaces.falls_back and own.other in self._readers
        return (own, own.other) if falls_back else (own,)

    async def read_back(self, scope: Scope, keys: Sequence[SourceKey]) -> Sequence[Row]:
        """Return the rows that Bromcom has for ``keys``, duplicates included.

        They are asked for where the dataset was read in this session, else on its own surface alone: what
        another one does not show need not be gone. A filter holds only integers and dates, so it finds more
        than was asked for; the parser says which rows have one of the keys.

        Raises:
            Unsupported: a key is not one of the dataset's.
            ConnectorError: as the surface's reader raises.
        """
        dataset = _dataset(scope.dataset)
        surface = self._used.get(dataset.name, self._surfaces.chosen[dataset.name])
        return await self._found(self._readers[surface], dataset, keys)

    async def _found(
        self, reader: SurfaceReader, dataset: BromcomDataset, keys: Sequence[SourceKey]
    ) -> Sequence[Row]:
        wanted = frozenset(keys)
        asked = [key for key in keys if dataset.could_have(key)]
        found: list[Row] = []
        for start in range(0, len(asked), reader.keys_per_request):
            predicate = dataset.predicate_for(asked[start : start + reader.keys_per_request])
            async with aclosing(reader.found(dataset, predicate)) as rows:
                async for row in rows:
                    if wanted & self._keys_of(dataset, row):
                        found.append(row)  # noqa: PERF401 - an asynchronous comprehension reads worse
        return found

    def _keys_of(self, dataset: BromcomDataset, row: Row) -> frozenset[SourceKey]:
        try:
            return frozenset(parsed.key for parsed in dataset.parser(row, self._settings))
        except RowRejected as rejected:
            # A row that cannot be taken over is there all the same, and the server will hear why it was
            # refused.
            return frozenset(() if rejected.key is None else (rejected.key,))

    async def write(self, request: WriteRequest) -> WriteReceipt:
        """Send a write once.

        Raises:
            Unsupported: the operation or a value of it cannot be written; nothing was sent.
            ConnectorError: as the operation's writer raises.
        """
        return await self._writer_of(request).write(request)

    async def find_write(self, request: WriteRequest, receipt: WriteReceipt | None) -> WriteReceipt | None:
        """Return the receipt of a write that took effect, ``None`` where it did not.

        Raises:
            Unsupported: as :meth:`write`.
            ConnectorError: as the operation's writer raises.
        """
        return await self._writer_of(request).find(request, receipt)

    def _writer_of(self, request: WriteRequest) -> OperationWriter:
        writer = self._writers.get(request.operation, f"Bromcom's connector cannot write {request.operation}")
        if isinstance(writer, str):
            raise Unsupported(writer)
        return writer

    async def grants(self, entities: Sequence[str]) -> Mapping[str, EntityGrantState]:
        """Ask for no row of each entity, and return what Bromcom made of that.

        An entity is granted where each dataset that needs it can be read, be it from the other surface.
        """
        states: dict[str, EntityGrantState] = {}
        for entity in entities:
            found = [await self._grant(dataset) for dataset in DATASETS if dataset.entity == entity]
            missing = [state for state in found if state is not EntityGrantState.GRANTED]
            if not found:
                states[entity] = EntityGrantState.UNKNOWN_ENTITY
            else:
                states[entity] = missing[0] if missing else EntityGrantState.GRANTED
        return states

    async def _grant(self, dataset: BromcomDataset) -> EntityGrantState:
        own: EntityGrantState | None = None
        for surface in self._order(dataset):
            try:
                state = await self._readers[surface].grant(dataset)
            except (AuthInvalid, AuthExpired):
                if own is None:
                    raise
                break
            if state is EntityGrantState.GRANTED:
                return state
            own = own or state
        assert own is not None
        return own

    async def probe(self, entities: Sequence[str]) -> Sequence[SurfaceProbe]:
        """Return what each surface granted when it was read in this session, and which entities it names.

        Only the names are asked for: a run has asked for the rest already.
        """
        return [await self._probe(surface, frozenset(entities)) for surface in self._readers]

    async def _probe(self, surface: Surface, entities: frozenset[str]) -> SurfaceProbe:
        reader = self._readers[surface]
        told = {entity: state for entity, state in self._told[surface].items() if entity in entities}
        try:
            named = await reader.discover()
        except ConnectorError as error:
            return SurfaceProbe(surface.value, told, failure=error)
        if named is None:
            return SurfaceProbe(surface.value, told)
        known = {name.lower() for name in named}
        for dataset in DATASETS:
            if dataset.entity in entities:
                is_named = reader.entity_of(dataset).lower() in known
                state = EntityGrantState.GRANTED if is_named else EntityGrantState.DENIED
                told.setdefault(dataset.entity, state)
        return SurfaceProbe(surface.value, told, tuple(sorted(named)))


def _dataset(name: str) -> BromcomDataset:
    try:
        return _DATASETS[name]
    except KeyError:
        raise Unsupported(f"Bromcom's connector has no dataset {name}") from None
