"""One simulated school: its rows, the times of their changes, what was deleted, and writes on their way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias

import orjson

from schoolgate_sdk.testing.serving import FaultyServer
from schoolgate_sdk.testing.world import World
from schoolgate_wonde.simulator.entities import CONDUCT, INCLUDES, RESOURCES, Builder, Entity, conduct
from schoolgate_wonde.simulator.ids import time_object

Clock: TypeAlias = Callable[[], datetime]

ENTITIES: Final = (*RESOURCES, *CONDUCT, *INCLUDES, "deletions")
"""What a school approves, one by one."""

_TYPES: Final = {"classes": "class", "attendance/session": "attendance_session"}
_OLD: Final = timedelta(days=30)


class Row(NamedTuple):
    """A row as it is served, and the moment of its latest change."""

    entity: Entity
    updated: datetime

    def shown(self, include: Sequence[str]) -> dict[str, Any]:
        """Return the row with what ``include`` asks for."""
        shown = {name: self.entity.nested[name] for name in include if name in self.entity.nested}
        return {**self.entity.base, **shown}


@dataclass(slots=True)
class _Stamp:
    digest: bytes
    created: datetime
    updated: datetime


class SimulatedSchool:
    """A world as Wonde has it. An edit has the time at which it was noticed: when Wonde was next asked."""

    def __init__(self, school_id: str, world: World, now: Clock, *, write_delay: float = 0.0) -> None:
        self.id = school_id
        self.world = world
        self.now = now
        self.server = FaultyServer(ENTITIES)
        self.state = "approved"
        self._write_delay = timedelta(seconds=write_delay)
        self._began = now() - _OLD
        self._first_revision = world.revision
        self._stamps: dict[str, dict[str, _Stamp]] = {}
        self._rows: dict[str, tuple[int, list[Row]]] = {}
        self._deleted: list[tuple[str, str, datetime]] = []
        self._stands_in: dict[int, str] = {}
        self._writes: list[tuple[datetime, Callable[[], None]]] = []
        self._written = 0
        self._note_conduct()

    def _note_conduct(self) -> None:
        """Let an event stand where its points had it first, whatever they are corrected to."""
        for number, event in self.world.behaviour.items():
            self._stands_in.setdefault(number, "behaviours" if event.points < 0 else "achievements")

    def rows(self, resource: str) -> list[Row]:
        """Return the rows of a resource as they are now."""
        self.settle()
        revision, known = self._rows.get(resource, (-1, []))
        if revision == self.world.revision:
            return known
        rows = self._stamped(resource, self._builder(resource))
        self._rows[resource] = self.world.revision, rows
        return rows

    def _builder(self, resource: str) -> Builder:
        if resource not in CONDUCT:
            return RESOURCES[resource]
        self._note_conduct()
        return lambda world: conduct(world, resource, self._stands_in)

    def _stamped(self, resource: str, build: Builder) -> list[Row]:
        known = self._stamps.get(resource)
        now = self.now()
        # Edits before the first look may be of anything.
        untouched = known is None and self.world.revision == self._first_revision
        since = self._began if untouched else now
        before = known or {}
        stamps: dict[str, _Stamp] = {}
        rows: list[Row] = []
        for entity in build(self.world):
            digest = _digest(entity)
            identifier = entity.base["id"]
            stamp = before.get(identifier)
            if stamp is None:
                stamp = _Stamp(digest, since, since)
            elif stamp.digest != digest:
                stamp = _Stamp(digest, stamp.created, now)
            stamps[identifier] = stamp
            dated = {
                **entity.base,
                "created_at": time_object(stamp.created),
                "updated_at": time_object(stamp.updated),
            }
            rows.append(Row(entity._replace(base=dated), stamp.updated))
        kind = _TYPES.get(resource, resource.replace("/", "_").replace("-", "_").removesuffix("s"))
        self._deleted += [(name, kind, now) for name in before if name not in stamps]
        self._stamps[resource] = stamps
        return rows

    def deletions(self) -> list[Row]:
        """Return what went, of the resources that were ever asked for."""
        for resource in list(self._stamps):
            self.rows(resource)
        return [
            Row(Entity({"id": name, "type": kind, "deleted_at": time_object(when)}), when)
            for name, kind, when in self._deleted
        ]

    def later(self, *effects: Callable[[], None]) -> str:
        """Take a write that takes effect once its time has come; return its ``writeback_id``."""
        self._written += 1
        due = self.now() + self._write_delay
        self._writes += [(due, effect) for effect in effects]
        self.settle()
        return f"W{self._written:09d}"

    def settle(self) -> None:
        """Let the writes take effect whose time has come."""
        due = [write for write in self._writes if write[0] <= self.now()]
        self._writes = [write for write in self._writes if write[0] > self.now()]
        for _, effect in due:
            effect()


def _digest(entity: Entity) -> bytes:
    own = {name: entity.nested[name] for name in entity.nested if name in entity.own}
    return hashlib.blake2b(orjson.dumps((entity.base, own)), digest_size=8).digest()
