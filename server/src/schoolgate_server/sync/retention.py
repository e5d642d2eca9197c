"""Keeps the source rows of a snapshot, sealed, so that an interrupted run need not ask for them again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence

from schoolgate_sdk import Incomplete, Row
from schoolgate_server.model.runs import Segment
from schoolgate_server.store.errors import RawPageMissing
from schoolgate_server.sync.context import RunContext
from schoolgate_server.sync.json_rows import JsonRows, decode_rows
from schoolgate_server.sync.segments import SegmentRows


class RetainedRows:
    """The rows of one dataset in one run; ``manifest`` lists its segments in the order of reading.

    ``sealed`` holds the segments of the last sealed snapshot. Nobody prunes those as long as it is the last,
    an owner that stalled and wakes up neither. What is kept otherwise may be what such a one is about to
    prune, and is kept again by whoever needs it.
    """

    def __init__(self, context: RunContext, dataset: str) -> None:
        self._store = context.ingest.store
        self._school_id = context.ingest.school_id
        self._dataset = dataset
        self._lease = context.ingest.lease
        self.manifest = context.entry.manifest.setdefault(dataset, [])
        self.sealed: Sequence[Segment] = ()

    async def keep(self, rows: JsonRows) -> bytes:
        """Keep rows, and return their digest; those of the last sealed snapshot cost no write.

        Raises:
            LeaseLost: a later owner of the school has kept them.
        """
        digest = await asyncio.to_thread(rows.digest)
        pages = self._store.raw_pages
        is_sealed = any(segment.digest == digest for segment in self.sealed)
        if not (is_sealed and await pages.has(self._school_id, self._dataset, digest)):
            payload = await asyncio.to_thread(rows.compressed)
            sealed = await self._store.row_seal.seal(self._school_id, payload)
            await pages.put(self._lease(), self._dataset, digest, sealed)
        return digest

    def took(self, segment: SegmentRows, digest: bytes, seq: int) -> None:
        """Note that the run has come this far.

        ``seq`` is the school's published seq before the rows were asked for.
        """
        self.manifest.append(Segment(digest, segment.cursor, len(segment.rows), seq))

    def check(self) -> None:
        """Return if no rows came twice as different segments of the snapshot, before interruptions or after.

        Raises:
            Incomplete: some did, and others may be missing in their place.
        """
        digests = [segment.digest for segment in self.manifest if segment.rows]
        if len(set(digests)) < len(digests):
            raise Incomplete("the MIS sent the same rows twice as different pages")

    def forget(self) -> None:
        """Begin the snapshot anew."""
        self.manifest.clear()

    async def replay(self) -> AsyncGenerator[tuple[list[Row], Segment]]:
        """Yield each segment with its rows.

        What follows a missing segment is forgotten.
        """
        for index, segment in enumerate(self.manifest):
            try:
                sealed = await self._store.raw_pages.get(self._school_id, self._dataset, segment.digest)
            except RawPageMissing:
                del self.manifest[index:]
                return
            payload = await self._store.row_seal.unseal(self._school_id, sealed)
            yield decode_rows(payload), segment

    async def prune(self, segments: Iterable[Segment]) -> None:
        """Keep the rows of ``segments``, and their memos, and no others of the dataset."""
        keep = {segment.digest for segment in segments}
        await self._store.raw_pages.prune(self._lease(), self._dataset, keep)
        await self._store.memos.prune(self._lease(), self._dataset, keep)
