"""What rows were read as before, for the segments of one dataset in one run."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from zlib import crc32

import orjson
from loguru import logger

from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate_sdk import Incomplete, Row
from schoolgate_server.ingest.memo import Memo, known_rows
from schoolgate_server.ingest.pipeline import SLICE_ROWS
from schoolgate_server.ingest.projection import Projector
from schoolgate_server.model.runs import Segment
from schoolgate_server.sync.context import RunContext
from schoolgate_server.sync.json_rows import JsonRows
from schoolgate_server.tasks import give_way

MOST_ROWS = 200_000
"""Rows of a segment that gets a memo, 11 MB: MongoDB allows 16. Segments have a tenth of them, unless pages
are larger."""

MOST_AT_HAND = 150_000
"""Rows of earlier segments that wait to come again, some 36 MB. Those of one segment are at hand however many
they are."""

_AHEAD = 1
"""Earlier segments that are looked into beyond the one in the same place, as far as there is room for them:
rows that came or went move others on."""

_CHUNK_ROWS = 10_000

_PARTS = ("schoolgate-server", "schoolgate-sdk", "schoolgate-proto", "protobuf")
"""Distributions that have a part in reading a row, beside the connector."""


class SegmentMemos:
    """Finds and keeps the memos of one dataset's segments.

    A memo is bound to everything that decides how a row is read: the two fingerprints of ADR 0011, all
    settings, the versions of the programs, and which records the school's keys stand for. ``sealed`` are the
    segments of the last sealed snapshot, in which the rows of the new one are looked for by what they say.
    """

    def __init__(
        self,
        context: RunContext,
        dataset: str,
        evidence: pb.Evidence,
        sealed: Sequence[Segment],
        projector: Projector,
    ) -> None:
        self._store = context.ingest.store
        self._school_id = context.ingest.school_id
        self._dataset = dataset
        self._lease = context.ingest.lease
        self._identities = context.identities
        self._projector = projector
        self._bound_to = _bound_to(context, evidence)
        self._options = context.options
        self._turn = crc32(context.ingest.run_id.encode())
        self._sealed = [segment.digest for segment in sealed]
        self._rows = [segment.rows for segment in sealed]
        self._at = 0
        self._loaded = 0
        self._at_hand: dict[bytes, bytes] = {}
        self._is_doubted = self._are_used = False

    async def of(self, digest: bytes, rows: Sequence[Row], as_json: JsonRows) -> Memo | None:
        """Return the memo of the segment that has ``digest``, of ``rows`` and the same as JSON.

        ``None``: nothing can be known of its rows now, nor kept of them.

        Raises:
            Incomplete: as :meth:`keep`.
        """
        binding = await asyncio.to_thread(self._binding)  # of fifty thousand aliases it takes a moment
        if binding is None or len(rows) > MOST_ROWS:
            return None
        memo = await self._find(digest, as_json, binding)
        options = self._options
        sample = memo.sample(options.checked_rows, options.checked_one_of, self._turn)
        for number, place in enumerate(sample, 1):
            memo.note(place, self._projector.project(rows[place]))
            if memo.is_contradicted:
                await self._doubt()
                return None
            if number % SLICE_ROWS == 0:
                await give_way()
        self._are_used |= memo.knows_any
        return memo

    async def keep(self, digest: bytes, memo: Memo) -> None:
        """Keep the memo of the segment that has ``digest``, once all of its rows were taken.

        Raises:
            Incomplete: rows are read otherwise than before although nothing that they are read by changed,
                and others were taken as they were read before. Deletions that are few may be so only because
                of that, so that none may follow.
        """
        binding = self._binding()
        if memo.is_contradicted:
            await self._doubt()
        elif binding is not None and not memo.is_kept:
            payload = await self._store.row_seal.seal(self._school_id, memo.encode())
            await self._store.memos.put(self._lease(), self._dataset, digest, binding, payload)

    async def _doubt(self) -> None:
        """Forget what is known of the dataset."""
        what = f"rows of {self._dataset} are read otherwise than before, by a parser of the same version"
        logger.warning("{}; nothing is taken as it was read before", what)
        self._is_doubted = True
        self._at_hand.clear()
        await self._store.memos.prune(self._lease(), self._dataset)
        if self._are_used:
            raise Incomplete(f"{what}; the next sync reads all of them")

    async def _find(self, digest: bytes, as_json: JsonRows, binding: bytes) -> Memo:
        if digest in self._sealed:
            self._at = self._sealed.index(digest) + 1
            self._loaded = max(self._loaded, self._at)
            payload = await self._load(digest, binding)
            if payload is not None:
                return Memo(payload, is_kept=True)
        else:
            self._at += 1
            await self._look_ahead(binding)
        digests: list[bytes] = []
        for start in range(0, len(as_json), _CHUNK_ROWS):
            digests += as_json.row_digests(start, start + _CHUNK_ROWS)
            await give_way()
        return Memo.of_rows(digests, self._at_hand)

    def _binding(self) -> bytes | None:
        stamp = self._identities.stamp
        if stamp is None or self._is_doubted:
            return None
        return hashlib.blake2b(self._bound_to + stamp, digest_size=16).digest()

    async def _look_ahead(self, binding: bytes) -> None:
        """Have at hand what the earlier segments around this place hold."""
        while self._loaded < min(self._at + _AHEAD, len(self._sealed)):
            if len(self._at_hand) + self._rows[self._loaded] > MOST_AT_HAND:
                if self._loaded >= self._at:
                    return
                self._at_hand.clear()  # rows moved about
            self._at_hand.update(known_rows(await self._load(self._sealed[self._loaded], binding) or b""))
            self._loaded += 1

    async def _load(self, digest: bytes, binding: bytes) -> bytes | None:
        """Return the memo of the segment that has ``digest``, encoded, ``None`` where there is none."""
        payload = await self._store.memos.get(self._school_id, self._dataset, digest, binding)
        return None if payload is None else await self._store.row_seal.unseal(self._school_id, payload)


def _bound_to(context: RunContext, evidence: pb.Evidence) -> bytes:
    """Return everything but the school's keys that decides how a row is read."""
    connector = context.connector
    return orjson.dumps(
        [
            evidence.scope_fingerprint,
            evidence.projection_fingerprint,
            sorted(context.connection.settings.items()),
            [connector.name, connector.version],
            [version(part) for part in _PARTS],
        ]
    )
