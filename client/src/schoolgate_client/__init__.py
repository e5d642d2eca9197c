"""Follow a school's changes and keep a local table equal to the server's.

table = SqliteTable("oak.db")
async with grpc.aio.insecure_channel("localhost:50551") as channel:
    await Follower(channel, "oak", table).run()
"""

from schoolgate_client.follower import Backoff, Follower, FollowFailed
from schoolgate_client.tables import MemoryTable, SqliteTable, Table

__all__ = ["Backoff", "FollowFailed", "Follower", "MemoryTable", "SqliteTable", "Table"]
