"""Who hears that a school's published seq moved: one listener per server, whatever the number of followers.

It listens to a change stream on ``heads``. Where MongoDB has none (a standalone server, a fake in memory), it
looks at the heads of the schools that are followed, again and again. It tells no more than that there may be
news, and says so once more whenever it begins to listen: then nothing depends on its hearing everything.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

from loguru import logger

from schoolgate_server.store.errors import StoreUnavailable
from schoolgate_server.store.handles import Collection, NoChangeStream, Query
from schoolgate_server.tasks import end_tasks

POLL_SECONDS = 0.25
"""Between two looks at the heads where MongoDB tells nothing by itself."""

AGAIN_SECONDS = 1.0
"""Until it listens again after MongoDB could not be reached."""

_PUBLISHED: list[Query] = [
    {"$match": {"updateDescription.updatedFields.published": {"$exists": True}}},
    {"$project": {"documentKey": 1}},
]


class News:
    """Whether something may have been published since :meth:`clear`."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def clear(self) -> None:
        """Begin anew; to be called before one looks at what is published."""
        self._event.clear()

    def tell(self) -> None:
        """Wake whoever waits."""
        self._event.set()

    async def wait(self) -> None:
        """Return when there may be news."""
        await self._event.wait()


class Publications:
    """Listens while there is anybody to tell."""

    def __init__(self, heads: Collection) -> None:
        self._heads = heads
        self._followers: defaultdict[str, set[News]] = defaultdict(set)
        self._listening: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def of(self, school_id: str) -> AsyncGenerator[News]:
        """Give the news of one school while the context is open."""
        news = News()
        self._followers[school_id].add(news)
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen(), name="listen to published seqs")
        try:
            yield news
        finally:
            self._followers[school_id].discard(news)
            if not self._followers[school_id]:
                del self._followers[school_id]
            if not self._followers:
                await self.close()

    async def close(self) -> None:
        """Stop listening."""
        listening, self._listening = self._listening, None
        if listening is not None:
            await end_tasks(listening)

    async def _listen(self) -> None:
        while True:
            try:
                await self._stream()
            except NoChangeStream as error:
                logger.info("{}: published seqs are looked for every {:g} s", error, POLL_SECONDS)
                await self._poll()
            except StoreUnavailable:
                await asyncio.sleep(AGAIN_SECONDS)

    async def _stream(self) -> None:
        async with aclosing(self._heads.events(_PUBLISHED)) as events:
            async for event in events:
                if event is None:
                    for school_id in list(self._followers):
                        self._tell(school_id)
                else:
                    self._tell(event["documentKey"]["_id"])

    async def _poll(self) -> None:
        seen: dict[str, int] = {}
        while True:
            try:
                heads = await self._heads.find({"_id": {"$in": list(self._followers)}}, {"published": 1})
            except StoreUnavailable:
                heads = []
            for head in heads:
                if seen.get(head["_id"]) != head["published"]:
                    seen[head["_id"]] = head["published"]
                    self._tell(head["_id"])
            await asyncio.sleep(POLL_SECONDS)

    def _tell(self, school_id: str) -> None:
        for news in self._followers.get(school_id, ()):
            news.tell()
