"""The retained rows of a snapshot that was sealed, as they were read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

from schoolgate_sdk import Row
from schoolgate_server.model.runs import Segment
from schoolgate_server.store.store import Store
from schoolgate_server.sync.json_rows import decode_rows


async def retained_rows(
    store: Store, school_id: str, dataset: str, segments: Iterable[Segment]
) -> AsyncGenerator[list[Row]]:
    """Yield the rows of ``segments``, a segment at a time.

    Raises:
        RawPageMissing: a segment's rows are not kept (any more).
    """
    for segment in segments:
        sealed = await store.raw_pages.get(school_id, dataset, segment.digest)
        yield decode_rows(await store.row_seal.unseal(school_id, sealed))
