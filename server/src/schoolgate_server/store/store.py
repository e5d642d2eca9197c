"""The store as one object: a part per kind of thing that is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from schoolgate_server.model.clock import Clock
from schoolgate_server.store.audit import Audit
from schoolgate_server.store.checkpoints import Checkpoints
from schoolgate_server.store.commits import Commits, Sleep
from schoolgate_server.store.decisions import Decisions
from schoolgate_server.store.feed import Feed
from schoolgate_server.store.fences import Fences
from schoolgate_server.store.handles import Database, Handle
from schoolgate_server.store.holds import Holds
from schoolgate_server.store.identities import Identities
from schoolgate_server.store.indexes import INDEXES
from schoolgate_server.store.instants import Instants
from schoolgate_server.store.leases import Leases
from schoolgate_server.store.memos import Memos
from schoolgate_server.store.mis_plans import MisPlans
from schoolgate_server.store.moves import Moves
from schoolgate_server.store.notices import Notices
from schoolgate_server.store.proposals import Proposals
from schoolgate_server.store.raw_pages import RawPages
from schoolgate_server.store.readings import Readings
from schoolgate_server.store.records import Records
from schoolgate_server.store.redirects import Redirects
from schoolgate_server.store.references import References
from schoolgate_server.store.runs import Runs
from schoolgate_server.store.schools import Schools
from schoolgate_server.store.vault import Credentials, NoVault, RowSeal
from schoolgate_server.store.write_policies import WritePolicies
from schoolgate_server.store.writes import Writes


class Store:
    """Everything that schoolgate keeps, in one MongoDB database.

    Every method of every part may raise :class:`~schoolgate_server.store.errors.StoreUnavailable`. Set
    ``credentials`` and ``row_seal`` to a vault; until then there is none. ``remember_secrets`` is told
    secrets that are unsealed, before anything could log them.
    """

    def __init__(self, database: Database, clock: Clock, sleep: Sleep) -> None:
        heads, records, history = (database.collection(name) for name in ("heads", "records", "history"))
        fences = Fences(database, database.collection("fences"))
        self.database = database
        self.leases = Leases(heads, clock)
        self.instants = Instants(heads, database.collection("commits"), clock, sleep)
        self.records = Records(heads, records, history)
        self.redirects = Redirects(self.records, records, history)
        self.feed = Feed(heads, records, history, self.leases)
        self.references = References(records, history)
        self.commits = Commits(heads, records, history, self.leases, fences, self.instants, clock, sleep)
        self.schools = Schools(database.collection("schools"), clock)
        self.runs = Runs(database.collection("runs"))
        self.notices = Notices(database.collection("notices"), database.collection("runs"))
        self.checkpoints = Checkpoints(heads, self.leases)
        self.readings = Readings(heads, records, history, self.leases)
        self.decisions = Decisions(database.collection("decisions"))
        self.raw_pages = RawPages(database.collection("raw_pages"))
        self.memos = Memos(database.collection("memos"))
        self.identities = Identities(database.collection("identities"))
        self.holds = Holds(database.collection("holds"))
        self.proposals = Proposals(database.collection("proposals"))
        self.mis_plans = MisPlans(database.collection("mis_plans"))
        self.moves = Moves(heads, records, database.collection("runs"), self.leases)
        self.audit = Audit(database.collection("audit"))
        self.writes = Writes(
            database.collection("writes"), database.collection("write_heads"), lambda: self.row_seal
        )
        self.write_policies = WritePolicies(
            database.collection("write_policies"), database.latest("write_policies")
        )
        # Who sends a school's writes need not be who syncs it.
        self.write_leases = Leases(database.collection("write_leases"), clock)
        self.credentials: Credentials = NoVault()
        self.row_seal: RowSeal = NoVault()
        self.remember_secrets: Callable[[Iterable[str]], None] = _forget

    @classmethod
    def open(cls, handle: Handle, database_name: str, clock: Clock, *, sleep: Sleep = asyncio.sleep) -> Store:
        """Return the store in ``database_name``; does no I/O. ``sleep`` waits between tries of a commit."""
        return cls(Database(handle, database_name), clock, sleep)

    async def prepare(self) -> None:
        """Check that the deployment can keep the store's promises, and make the indexes that are missing.

        Raises:
            StoreMisconfigured: it cannot, for a reason that the text names.
        """
        await self.database.check()
        for name, models in INDEXES.items():
            await self.database.collection(name).create_indexes(models)

    async def ping(self) -> None:
        """Return if MongoDB answers."""
        await self.database.command("ping")

    async def close(self) -> None:
        """Close the handle, and stop listening."""
        await self.feed.close()
        await self.database.close()


def _forget(secrets: Iterable[str]) -> None:
    """Stand for whoever keeps secrets out of the log where there is none."""
