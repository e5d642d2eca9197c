"""Runs that start by themselves: when one is due, and what keeps it from starting."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple, TypeAlias

from loguru import logger

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import sync_service_pb2 as pb
from schoolgate.v1.school_service_pb2 import School, SyncSchedule
from schoolgate_server.mis.partners import NO_PARTNERS, Partners
from schoolgate_server.model.clock import Clock
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.failures import place_of
from schoolgate_server.model.quiet import quiet_until
from schoolgate_server.store.errors import StoreUnavailable
from schoolgate_server.store.runs import SCHEDULED_LAYERS
from schoolgate_server.store.store import Store
from schoolgate_server.sync.layers import Wanted
from schoolgate_server.sync.refusals import LOOKED_AT, resumes_at
from schoolgate_server.sync.scope import academic_year

REQUESTED_BY = "schedule"
"""Who asked for a run that a schedule started."""

_NAMESPACE = uuid.UUID("6a6f0a1c-5d1e-5c39-9a54-3c8d2b7f0e11")
_EXPECTED = frozenset({reasons.ERROR_REASON_RUN_IN_PROGRESS, reasons.ERROR_REASON_REQUEST_ID_REUSED})
"""Another run is at work, and the due one is started after it; or another server started it, a day apart."""

Start: TypeAlias = Callable[[str, Wanted, str], Awaitable[object]]
"""Starts a scheduled run of a school, what is wanted, under a request id."""


class Due(NamedTuple):
    """A run that is due. ``after`` is the start of its schedule's last run, ``None`` before the first."""

    layer: pb.SyncLayer.ValueType
    after: datetime | None
    window_days: int


def due(
    schedules: Iterable[SyncSchedule], last_starts: Mapping[pb.SyncLayer.ValueType, datetime], now: datetime
) -> list[Due]:
    """Return the runs that are due at ``now``, the most thorough first."""
    found: list[Due] = []
    for schedule in schedules:
        after = last_starts.get(schedule.layer)
        if after is None or now - after >= timedelta(minutes=schedule.every_minutes):
            found.append(Due(schedule.layer, after, schedule.window_days))
    return sorted(found, key=lambda each: SCHEDULED_LAYERS.index(each.layer))


def request_id_of(school_id: str, run: Due) -> str:
    """Return the request id of a due run: the same on whichever server, so that it starts once."""
    return str(uuid.uuid5(_NAMESPACE, f"{school_id}/{pb.SyncLayer.Name(run.layer)}/{run.after}"))


def wanted_of(school: School, run: Due, today: date) -> Wanted | None:
    """Return what a due run reads; ``None`` where its window has no day of the academic year any more.

    A window begins ``window_days`` before today and ends with the academic year.
    """
    if run.layer != pb.SYNC_LAYER_WINDOW:
        return Wanted(layer=run.layer)
    year = academic_year(school, today)
    begins = max((today - timedelta(days=run.window_days)).isoformat(), year.valid_from)
    return Wanted((), run.layer, begins, year.valid_to) if begins < year.valid_to else None


class Scheduler:
    """Starts what is due, for every school that has schedules."""

    def __init__(self, store: Store, clock: Clock, start: Start, partners: Partners = NO_PARTNERS) -> None:
        self._store = store
        self._clock = clock
        self._start = start
        self._partners = partners
        self._told: dict[str, str] = {}

    async def look(self) -> None:
        """Start what is due. What keeps one school from it concerns no other.

        Raises:
            StoreUnavailable: MongoDB does not answer.
        """
        for school in await self._store.schools.scheduled():
            with logger.contextualize(school_id=school.school_id):
                try:
                    await self._look_at(school)
                except StoreUnavailable:
                    raise
                except ServiceError as error:
                    self._tell(school.school_id, error.message)
                except Exception as error:  # noqa: BLE001 - the other schools' runs must start all the same
                    self._tell(school.school_id, place_of(error))

    async def _look_at(self, school: School) -> None:
        school_id, now = school.school_id, self._clock()
        runs = due(school.schedules, await self._store.runs.last_scheduled(school_id), now)
        if not runs:
            return
        quiet = quiet_until(school, now)
        if quiet is not None:
            logger.debug("scheduled runs wait for the end of the quiet hours at {:%H:%M} UTC", quiet)
            return
        ended = await self._store.runs.finished(school_id, LOOKED_AT)
        until = resumes_at(ended, school, self._partners.changed_at(school.connector))
        if until is not None and now < until:
            self._tell(
                school_id, f"the MIS refused the last run; until {until:%Y-%m-%d %H:%M} UTC none is started"
            )
            return
        for run in runs:
            wanted = wanted_of(school, run, now.date())
            if wanted is None:
                continue
            try:
                await self._start(school_id, wanted, request_id_of(school_id, run))
                self._told.pop(school_id, None)
            except ServiceError as error:
                if error.reason not in _EXPECTED:
                    raise
            return  # the next one begins after it

    def _tell(self, school_id: str, what: str) -> None:
        """Log once what keeps a school's runs from starting, however often it is found."""
        if self._told.get(school_id) != what:
            self._told[school_id] = what
            logger.warning("scheduled runs do not start: {}", what)
