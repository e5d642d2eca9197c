"""Projects source rows to records: runs the connector's parser, shapes the messages, resolves the keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from google.protobuf.message import Message

from schoolgate.v1 import diagnostics_service_pb2 as diagnostics
from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk import (
    Dataset,
    KindInfo,
    LeftOut,
    Parsed,
    Row,
    RowRejected,
    Scope,
    SourceKey,
    encode_key,
    kind_info,
)
from schoolgate_sdk.keys import check_key
from schoolgate_server.ingest.decisions import Finding, check_words, row_fingerprint
from schoolgate_server.ingest.identity import Claim, Identities, Key, NotLookedUp
from schoolgate_server.ingest.shape import Shaper
from schoolgate_server.model.dates import validity
from schoolgate_server.model.failures import place_of
from schoolgate_server.model.hashing import conflict_rank, content_digest

LARGEST_RECORD = 1024 * 1024
"""Bytes of one record: far above what any MIS has, and far below what MongoDB and gRPC take."""


MOST_MESSAGES = 1_000
"""Messages that one row may yield: a row of a timetable has dozens at most, and a parser must end."""


class Projected(NamedTuple):
    """One record as a row describes it: encoded ``keys``, serialised message, and the digest of both.

    ``own``: the row's key is the one that the record's id was made from. ``rank`` says whether the row goes
    before others of the record.
    """

    record_id: str
    kind: Kind.ValueType
    key: SourceKey
    keys: tuple[str, ...]
    message: Message
    wire: bytes
    digest: bytes
    valid_from: str | None
    valid_to: str | None
    own: bool = True
    rank: int = 0


class Projection(NamedTuple):
    """What one row yields.

    ``findings`` says what was not taken over as it came. ``rejected`` means that the row yields nothing, and
    then ``protects`` holds the record ids that it may have been; without any the row is unidentified.
    ``claims`` names keys of ``records`` that others have. ``outside`` are the records that the row is about,
    be it by a further or former key, on a day that lies outside the dates that were asked for.
    """

    records: Sequence[Projected] = ()
    findings: Sequence[Finding] = ()
    rejected: bool = False
    protects: tuple[str, ...] = ()
    claims: Sequence[Claim] = ()
    outside: Sequence[str] = ()


class _KindPlan(NamedTuple):
    info: KindInfo
    message: type[Message]
    namespace: str
    windowed_by: str | None


class Projector:
    """Projects the rows of one dataset of one school under one scope."""

    def __init__(
        self,
        dataset: Dataset,
        scope: Scope,
        settings: Mapping[str, str],
        shaper: Shaper,
        identities: Identities,
    ) -> None:
        self._parser = dataset.parser
        self._settings = settings
        self._shaper = shaper
        self._identities = identities
        windowed = dataset.windowed and scope.date_from is not None and scope.date_to is not None
        self._begins, self._ends = str(scope.date_from), str(scope.date_to)
        self._plans = {
            spec.kind: _KindPlan(
                info := kind_info(spec.kind),
                info.message,
                spec.namespace,
                spec.windowed_by if windowed else None,
            )
            for spec in dataset.kinds
        }

    async def know(self, rows: Sequence[Row]) -> None:
        """Have at hand what is known of the keys of ``rows``, a page's at most; before :meth:`project`."""
        if self._identities.are_held:
            return
        keys: set[Key] = set()
        references: set[Key] = set()
        for row in rows:
            try:
                for item in self._parse(row):
                    self._note_keys(item, keys, references)
            except RowRejected as rejection:
                keys.update(self._keys_of(rejection.key))
            except Exception:  # noqa: BLE001, S112 - as in project(), where the row becomes a finding
                continue
        await self._identities.look_up(keys, references)

    def _note_keys(self, item: Parsed, keys: set[Key], references: set[Key]) -> None:
        """Note what is asked of identities for ``item``, in the order in which that is asked."""
        if item.kind not in self._plans:
            raise _Refused("the parser yielded a kind that its dataset does not declare")
        keys.add((item.kind, _encode(item.key)))
        for ref in item.refs:
            if not self._identities.is_known(ref.kind, ref.key):
                encoded, _ = encode_key(ref.key), kind_info(ref.kind)
                references.add((ref.kind, encoded))
        keys.update((item.kind, _encode(other)) for other in item.other_keys)
        keys.update((item.kind, _encode(former)) for former in item.former_keys)

    def project(self, row: Row) -> Projection:
        """Return what ``row`` yields. A row that cannot be taken over is a finding, never an exception."""
        try:
            parsed = self._parse(row)
            findings: list[Finding] = []
            claims: list[Claim] = []
            outside: list[str] = []
            records = [
                projected
                for item in parsed
                if (projected := self._project_one(item, findings, claims, outside)) is not None
            ]
        except RowRejected as rejection:
            return self._rejected(row, rejection)
        except _Refused as refusal:
            return self._defective(row, str(refusal))
        except NotLookedUp:
            raise
        except Exception as error:  # noqa: BLE001 - a stranger's parser may raise anything; the row becomes a finding
            return self._defective(row, f"the parser failed: {place_of(error)}")
        return Projection(records, findings, claims=claims, outside=outside)

    def _parse(self, row: Row) -> list[Parsed]:
        """Return what the parser yields; whatever it raises otherwise, be it ``SystemExit``, is its own."""
        try:
            parsed = list(islice(self._parser(row, self._settings), MOST_MESSAGES + 1))
        except RowRejected as rejection:
            _check_said(rejection)
            if rejection.key is not None:
                _encode(rejection.key)
            raise
        except BaseException as error:
            raise _Refused(f"the parser failed: {place_of(error)}") from error
        if not parsed:
            raise _Refused("the parser yielded nothing for the row")
        if len(parsed) > MOST_MESSAGES:
            raise _Refused(f"the parser yielded more than {MOST_MESSAGES:,} messages for the row")
        return parsed

    def _project_one(
        self, item: Parsed, findings: list[Finding], claims: list[Claim], outside: list[str]
    ) -> Projected | None:
        """Return the record of one message, or ``None`` where it lies outside the scope."""
        kind, key, message, refs, other_keys, former_keys, left_out = item
        plan = self._plans.get(kind)
        if plan is None or type(message) is not plan.message or key.namespace != plan.namespace:
            raise _Refused(
                "the parser yielded a kind, message or namespace that its dataset does not declare"
            )
        encoded = _encode(key)
        record_id = self._identities.own(kind, encoded)
        if left_out:
            findings += [_left_out(part) for part in left_out]
        if unmapped := self._shaper.shape(kind, message):
            findings += [_unmapped(plan.info.name, field, getattr(message, field)) for field in unmapped]
        wire = message.SerializeToString(deterministic=True)
        rank = conflict_rank(wire, _named(item) if refs or other_keys else ())
        if refs:
            self._resolve(item, findings)
            wire = message.SerializeToString(deterministic=True)
        if plan.windowed_by is not None and not self._in_window(plan.windowed_by, message):
            findings.append(_out_of_scope(plan.windowed_by, key))
            outside += [record_id, *self._others(item)]
            return None
        keys: tuple[str, ...] = (encoded,)
        if other_keys:
            keys += self._learn(item, record_id, findings, claims)
        if former_keys:
            claims += self._former(item, record_id)
        keys = self._identities.keys(record_id, keys)
        valid_from, valid_to = validity(plan.info, message)
        if len(wire) > LARGEST_RECORD:
            detail = f"the record has more than {LARGEST_RECORD:,} bytes"
            raise RowRejected(diagnostics.DECISION_REASON_VALUE_INVALID, "", detail, key)
        digest = content_digest(wire, keys)
        own = self._identities.is_own(kind, encoded, record_id)
        return Projected(record_id, kind, key, keys, message, wire, digest, valid_from, valid_to, own, rank)

    def _resolve(self, item: Parsed, findings: list[Finding]) -> None:
        """Fill in the record ids that the message refers to."""
        for ref in item.refs:
            target = self._identities.resolve(ref.kind, ref.key)
            if target is not None:
                setattr(item.message, ref.field, target)
                continue
            item.message.ClearField(ref.field)
            detail = f"no {kind_info(ref.kind).name} is known under the key of {ref.key.namespace}"
            findings.append(
                Finding(diagnostics.DECISION_REASON_REFERENCE_UNRESOLVED, ref.field, detail, item.key)
            )

    def _learn(
        self, item: Parsed, record_id: str, findings: list[Finding], claims: list[Claim]
    ) -> tuple[str, ...]:
        """Return the record's further keys, encoded; one that another record has already is left out."""
        keys: tuple[str, ...] = ()
        for other in item.other_keys:
            encoded = _encode(other)
            holder = self._identities.learn(item.kind, encoded, record_id)
            if holder == record_id:
                keys += (encoded,)
                continue
            claims.append(Claim(record_id, holder, encoded))
            detail = "another record has this further key already"
            findings.append(
                Finding(diagnostics.DECISION_REASON_CONFLICTING_ROW, other.namespace, detail, item.key)
            )
        return keys

    def _former(self, item: Parsed, record_id: str) -> list[Claim]:
        """Return claims on the records that have the entity's former keys."""
        former = [_encode(key) for key in item.former_keys]
        holders = [(self._identities.own(item.kind, key), key) for key in former]
        return [Claim(record_id, holder, key, certain=True) for holder, key in holders if holder != record_id]

    def _others(self, item: Parsed) -> list[str]:
        """Return the records that the further and former keys stand for, none of which ``item`` gets."""
        keys = (*item.other_keys, *item.former_keys)
        return [self._identities.own(item.kind, _encode(key)) for key in keys]

    def _in_window(self, field: str, message: Message) -> bool:
        day: str = getattr(message, field)
        return self._begins <= day < self._ends

    def _rejected(self, row: Row, rejection: RowRejected) -> Projection:
        finding = Finding(
            rejection.reason,
            rejection.field,
            rejection.detail,
            rejection.key,
            row_fingerprint(row) if rejection.key is None else b"",
        )
        return Projection(findings=[finding], rejected=True, protects=self._protects(rejection.key))

    def _protects(self, key: SourceKey | None) -> tuple[str, ...]:
        """Return the records that a rejected row with ``key`` may have been."""
        return tuple(self._identities.own(*each) for each in self._keys_of(key))

    def _keys_of(self, key: SourceKey | None) -> list[Key]:
        """Return what ``key`` may be: the key of each kind in whose number space it is."""
        if key is None:
            return []
        return [
            (kind, encode_key(key)) for kind, plan in self._plans.items() if plan.namespace == key.namespace
        ]

    def _defective(self, row: Row, detail: str) -> Projection:
        finding = Finding(diagnostics.DECISION_REASON_PARSER_ERROR, "", detail, row=row_fingerprint(row))
        return Projection(findings=[finding], rejected=True)


class _Refused(Exception):
    """The parser broke its contract."""


def _encode(key: SourceKey) -> str:
    """Return the encoded key, checked: the parts of a stranger's key may be anything."""
    if not isinstance(key, SourceKey):  # pyright: ignore[reportUnnecessaryIsInstance] - a stranger's
        raise _Refused("the parser gave something else where a key belongs")
    try:
        check_key(key)
        return encode_key(key)
    except (TypeError, ValueError) as error:
        raise _Refused(f"the parser yielded a malformed key: {error}") from error


def _check_said(said: RowRejected | LeftOut) -> None:
    """Raise where a decision cannot hold what the parser says: its words may be anything, as its keys may."""
    try:
        check_words(said.reason, said.field, said.detail)
    except (TypeError, ValueError) as error:
        raise _Refused("the parser said of a row what no decision can hold") from error


def _left_out(part: LeftOut) -> Finding:
    _encode(part.key)
    _check_said(part)
    return Finding(part.reason, part.field, part.detail, part.key)


def _named(item: Parsed) -> list[str]:
    """Return the other keys that a row names, encoded: whose they are is another question."""
    named = [encode_key(ref.key) for ref in item.refs]
    if item.other_keys:
        named += [_encode(key) for key in item.other_keys]
    return named


def _out_of_scope(field: str, key: SourceKey) -> Finding:
    return Finding(
        diagnostics.DECISION_REASON_OUT_OF_SCOPE,
        field,
        "the row lies outside the dates that were asked for",
        key,
    )


def _unmapped(kind_name: str, code_field: str, code: str) -> Finding:
    """Return the finding for a code without meaning: one per code, not one per row."""
    shown = repr(code) if len(code) <= 8 else "a longer text"
    return Finding(
        diagnostics.DECISION_REASON_CODE_UNMAPPED,
        f"{kind_name}.{code_field}",
        f"the code {shown} has no canonical meaning",
        row=code.encode(),
    )
