"""A follower as a process, which may be killed at any moment. Arguments: server, school, SQLite file."""

from __future__ import annotations

import asyncio
import sys

import grpc

from schoolgate_client import Backoff, Follower, SqliteTable


async def follow(target: str, school_id: str, file: str) -> None:
    async with grpc.aio.insecure_channel(target) as channel:
        table = SqliteTable(file)
        backoff = Backoff(first=0.05, longest=0.2)
        follower = Follower(channel, school_id, table, page_size=7, heartbeat_seconds=1, backoff=backoff)
        print("following", flush=True)
        await follower.run()


if __name__ == "__main__":
    asyncio.run(follow(*sys.argv[1:]))
