"""Planning a change of MIS: the other MIS is read whole, and its entities are matched to records.

Nothing of the school changes. The plan is made whole or not at all: one from half a MIS would take the
other half for entities that are new, and for records that nobody knows any more.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import orjson

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.identity_service_pb2 import KindMatch, MisChangePlan
from schoolgate.v1.kind_pb2 import Kind
from schoolgate.v1.school_service_pb2 import School
from schoolgate_sdk import (
    KINDS,
    Connector,
    CountRows,
    Dataset,
    EndOfSnapshot,
    Incomplete,
    Scope,
    Session,
    encode_key,
)
from schoolgate_server.ingest.identity import Identities, identities_of
from schoolgate_server.ingest.projection import Projector
from schoolgate_server.ingest.shape import Shaper
from schoolgate_server.mis.asking import counted
from schoolgate_server.mis.blame import connector_at_work
from schoolgate_server.mis.connections import connection_with
from schoolgate_server.model.codes import resolve_meanings
from schoolgate_server.model.profile import dropped_fields
from schoolgate_server.model.runs import RunEntry
from schoolgate_server.reconcile.absence import incompleteness
from schoolgate_server.reconcile.matching import Matching, described, evidence, rules_of
from schoolgate_server.store.mis_plans import PIECE, Piece
from schoolgate_server.store.references import referring_fields
from schoolgate_server.sync.operations import OperationEnv
from schoolgate_server.sync.scope import scope_of
from schoolgate_server.sync.segments import read_segments

_EXAMPLES = 10
"""Ids per kind that a plan shows: enough to look some up, and the plan stays one document."""

_UNREAD = (
    "nothing: the other connector does not read them; they stay as they are, and nobody reads them again"
)


def sealed_of(data: Mapping[str, Any]) -> bytes:
    """Return what an operation carries of settings and credentials, as it was sealed."""
    return b64decode(str(data["sealed"]))


async def plan(env: OperationEnv, entry: RunEntry, data: Mapping[str, Any]) -> None:
    """Match what the MIS of ``data``'s connector has to the school's records, and store the plan.

    Done again after a crash it begins anew.

    Raises:
        RunFailed: the other MIS could not be read to its proven end; there is no new plan.
        RunCancelled: somebody asked the run to stop; there is no new plan.
    """
    await _Planning.begin(env, entry, data)


class _Planning:
    def __init__(
        self, env: OperationEnv, entry: RunEntry, school: School, connector: Connector, identities: Identities
    ) -> None:
        self._env = env
        self._entry = entry
        self._school = school
        self._connector = connector
        self._identities = identities
        self._dropped = dropped_fields(school.data_profile)
        meanings = resolve_meanings(connector.code_meanings, school.code_mappings)
        self._shaper = Shaper(meanings, self._dropped)
        self._same: dict[str, str] = {}
        self._kinds: list[KindMatch] = []

    @classmethod
    async def begin(cls, env: OperationEnv, entry: RunEntry, data: Mapping[str, Any]) -> None:
        school_id, run_id = entry.run.school_id, entry.run.run_id
        school = await env.store.schools.get(school_id)
        connector = env.connectors.get(str(data["connector"]))
        sealed = sealed_of(data)
        given: dict[str, dict[str, str]] = orjson.loads(await env.store.row_seal.unseal(school_id, sealed))
        env.store.remember_secrets(given["credentials"].values())
        head = await env.store.leases.head(school_id)
        await env.store.mis_plans.sweep(school_id, run_id)
        identities = await identities_of(env.store, school_id, connector.datasets)
        planning = cls(env, entry, school, connector, identities)
        settings, credentials = given["settings"], given["credentials"]
        connection = connection_with(connector, school_id, settings, credentials, env.clock, env.traffic)
        async with env.sessions(connector, connection) as session:
            for dataset in connector.datasets:
                await planning.match(dataset, session, connection.settings)
        await planning.conclude(head.published, sealed)

    async def match(self, dataset: Dataset, session: Session, settings: Mapping[str, str]) -> None:
        """Read one dataset of the other MIS, and match each of its kinds."""
        scope = scope_of(self._school, dataset, self._env.clock().date())
        matchings = {
            spec.kind: _KindMatching(self._env, self._entry, spec.kind, self._dropped[spec.kind])
            for spec in dataset.kinds
        }
        projector = Projector(dataset, scope, settings, self._shaper, self._identities)
        await self._read(scope, session, projector, matchings)
        for kind in _in_order(matchings):
            window = None if scope.date_from is None else (str(scope.date_from), str(scope.date_to))
            self._kinds.append(await matchings[kind].match(window, self._same))
        await self._env.save()

    async def _read(
        self,
        scope: Scope,
        session: Session,
        projector: Projector,
        matchings: Mapping[Kind.ValueType, _KindMatching],
    ) -> None:
        """Take the whole dataset in.

        Raises:
            ConnectorError, ConnectorDefect: it could not be read; Incomplete: to its proven end.
        """
        options = self._env.options
        expected = (
            await counted(session, scope, options.page_timeout) if isinstance(session, CountRows) else None
        )
        end: EndOfSnapshot | None = None
        rows_read = 0
        with connector_at_work():
            pages = session.read(scope)
        segments = read_segments(pages, options.segment_rows, options.page_timeout, options.limits)
        async with aclosing(segments):
            async for segment in segments:
                await projector.know(segment.rows)
                for row in segment.rows:
                    for projected in projector.project(row).records:
                        found = matchings[projected.kind]
                        found.add(projected.record_id, encode_key(projected.key), projected.message)
                rows_read += len(segment.rows)
                for matching in matchings.values():
                    await matching.flush()
                end = segment.end
                await self._env.save()
        is_new = await self._is_new(matchings)
        _require_whole(scope.dataset, end, rows_read, expected, may_be_empty=is_new)

    async def _is_new(self, kinds: Iterable[Kind.ValueType]) -> bool:
        """Whether the school has no live record of any of ``kinds``."""
        school_id = self._school.school_id
        return not any([await self._env.store.moves.count(school_id, kind) for kind in kinds])

    async def conclude(self, seq: int, sealed: bytes) -> None:
        """Store the plan, based on the school as it was at ``seq``."""
        env, school_id = self._env, self._school.school_id
        read = {match.kind for match in self._kinds}
        for kind in KINDS:
            if kind not in read and (live := await env.store.moves.count(school_id, kind)):
                self._kinds.append(KindMatch(kind=kind, live=live, evidence=_UNREAD))
        made = MisChangePlan(
            school_id=school_id,
            connector=self._connector.name,
            run_id=self._entry.run.run_id,
            kinds=sorted(self._kinds, key=lambda match: match.kind),
            seq=seq,
        )
        made.created_at.FromDatetime(env.clock())
        digest = hashlib.sha256(sealed + made.SerializeToString(deterministic=True))
        async for _, piece in env.store.mis_plans.pieces(school_id, made.run_id):
            digest.update(orjson.dumps([piece.kind, piece.keys, piece.records]))
        made.digest = digest.hexdigest()
        await env.store.mis_plans.put(made, sealed)


class _KindMatching:
    """The matching of one kind, and the pieces of the plan that it is written to."""

    def __init__(
        self, env: OperationEnv, entry: RunEntry, kind: Kind.ValueType, dropped: Sequence[str]
    ) -> None:
        self._store = env.store
        self._school_id, self._run_id = entry.run.school_id, entry.run.run_id
        self._kind = kind
        self._matching = Matching(kind, rules_of(kind, frozenset(dropped)))
        self._keys: list[str] = []
        self._written = 0

    def add(self, entity_id: str, key: str, message: Any) -> None:  # noqa: ANN401 - a message of the kind
        """Take in an entity of the other MIS."""
        if self._matching.add_entity(entity_id, evidence(self._matching.rules, message)):
            self._keys.append(key)

    async def flush(self, *, everything: bool = False) -> None:
        """Write the keys that came, so that memory holds few of them."""
        while len(self._keys) >= PIECE or (everything and self._keys):
            piece = Piece(self._kind, self._keys[:PIECE], ())
            await self._store.mis_plans.put_piece(self._school_id, self._run_id, self._written, piece)
            del self._keys[:PIECE]
            self._written += 1

    async def match(self, window: tuple[str, str] | None, same: dict[str, str]) -> KindMatch:
        """Match the entities to the live records, which refer to each other as ``same`` says; add to it."""
        await self.flush(everything=True)
        rules = self._matching.rules
        live = self._store.moves.live(self._school_id, self._kind, *(window or (None, None)))
        async for batch in live:
            for record_id, message in batch:
                self._matching.add_record(record_id, evidence(rules, message, same))
        counts = self._matching.match()
        async for number, piece in self._store.mis_plans.pieces(self._school_id, self._run_id, self._kind):
            first = number * PIECE
            records = [self._matching.partner(first + index) or "" for index in range(len(piece.keys))]
            done = piece._replace(records=records)
            await self._store.mis_plans.put_piece(self._school_id, self._run_id, number, done)
        if referring_fields(self._kind):
            same.update(self._matching.pairs())
        return KindMatch(
            kind=self._kind,
            **counts._asdict(),
            evidence=described(rules),
            examples=self._matching.unmatched(_EXAMPLES),
        )


def _in_order(kinds: Mapping[Kind.ValueType, object]) -> list[Kind.ValueType]:
    """Return ``kinds`` so that what is referred to comes before what refers."""
    waiting, ordered = list(kinds), list[Kind.ValueType]()
    while waiting:
        ready = [
            kind
            for kind in waiting
            if not any(kind in referring_fields(other) for other in waiting if other != kind)
        ]
        ordered += ready or waiting
        waiting = [kind for kind in waiting if kind not in ordered]
    return ordered


def _require_whole(
    dataset: str,
    end: EndOfSnapshot | None,
    rows_read: int,
    counted_rows: int | None,
    *,
    may_be_empty: bool,
) -> None:
    """Raise ``Incomplete`` where nothing proves that all rows of ``dataset`` were read."""
    shown = pb.Evidence(
        terminator_proven=end is not None and end.terminator_proven,
        rows_read=rows_read,
        permission_present=True,
    )
    expected = end.expected_rows if end is not None and end.expected_rows is not None else counted_rows
    if expected is not None:
        shown.expected_rows = expected
    elif not rows_read and may_be_empty:
        shown.expected_rows = 0
    doubt = None if end is None else end.contradiction
    doubt = doubt or incompleteness(shown)
    if doubt is not None:
        raise Incomplete(f"{doubt} ({dataset}); there is no plan from half a MIS", entity=dataset)
