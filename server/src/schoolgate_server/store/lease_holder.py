"""Holds a school's lease while somebody is at work, and renews it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

from loguru import logger

from schoolgate_server.model.failures import place_of
from schoolgate_server.store.errors import LeaseLost, StoreUnavailable
from schoolgate_server.store.leases import Lease, Leases
from schoolgate_server.tasks import AGAIN_SECONDS, end_tasks


class LeaseHolder:
    """A lease that is held, as it stands after the latest renewal."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def __call__(self) -> Lease:
        """Return the lease."""
        return self._lease

    def renewed(self, lease: Lease) -> None:
        """Take the renewed lease."""
        self._lease = lease


@asynccontextmanager
async def held_lease(leases: Leases, lease: Lease, ttl: timedelta) -> AsyncGenerator[LeaseHolder]:
    """Renew ``lease`` in the background while the block runs, and release it afterwards.

    The block is cancelled when the lease is lost, and then :class:`LeaseLost` is raised: whoever lost it
    must not write any more (G15).
    """
    holder = LeaseHolder(lease)
    block = asyncio.current_task()
    lost = False

    async def renew() -> None:
        nonlocal lost
        while True:
            await asyncio.sleep(ttl.total_seconds() / 3)
            try:
                holder.renewed(await leases.renew(holder()))
            except StoreUnavailable:
                logger.warning("lease of school {} not renewed: the store does not answer", lease.school_id)
            except LeaseLost:
                lost = True
                logger.warning("lease of school {} lost", lease.school_id)
                while block is not None:  # until it has ended, for a driver may lose a cancellation
                    block.cancel()
                    await asyncio.sleep(AGAIN_SECONDS)
            except Exception as error:  # noqa: BLE001 - the next try may succeed; an expired lease ends the loop
                logger.error("lease of school {} not renewed: {}", lease.school_id, place_of(error))

    renewing = asyncio.create_task(renew(), name=f"renew lease {lease.school_id}")
    try:
        yield holder
    except asyncio.CancelledError:
        if lost and block is not None:
            block.uncancel()
            raise LeaseLost(f"lease of school {lease.school_id} lost") from None
        raise
    finally:
        await end_tasks(renewing)
        if not lost:
            await asyncio.shield(leases.release(holder()))
