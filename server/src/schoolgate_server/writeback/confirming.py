"""Confirms what was sent by the school's own data, as it comes through the ingest that every sync uses."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from zoneinfo import ZoneInfo

from loguru import logger

from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.kind_pb2 import Kind
from schoolgate.v1.record_pb2 import Record
from schoolgate_sdk import SourceKey, encode_key
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.failures import place_of
from schoolgate_server.model.quiet import zone_of
from schoolgate_server.model.wire_keys import encode_wire_key, from_wire
from schoolgate_server.model.writes import OPERATIONS, WriteEntry, action_of
from schoolgate_server.store.errors import StoreUnavailable
from schoolgate_server.writeback import advice
from schoolgate_server.writeback import transitions as to
from schoolgate_server.writeback.expectations import BY_RECORD, differences
from schoolgate_server.writeback.reversal import note_reversed
from schoolgate_server.writeback.school import SchoolWrites

_REQUESTS = uuid.UUID("7b1f7c3e-6a52-5d0c-9f43-0f2d5d1f4a90")
"""Namespace of the request ids of re-reads, so that one that is asked for again is the same."""


class Confirmer:
    """Confirms one school's writes that the MIS has."""

    def __init__(self, school: SchoolWrites) -> None:
        self._school = school

    async def confirm(self, entry: WriteEntry) -> None:
        """Look whether the school's data says what was written, and store what that told.

        Raises:
            StoreUnavailable: nothing was stored.
        """
        school, now = self._school, self._school.clock()
        seq = await school.store.records.published(school.school_id)
        records = await self._records(entry, seq)
        kind, keys = _about(entry, records)
        if kind is None or not keys:
            await self._confirmed(entry, [], seq)  # the MIS's own answer is all that there will be
            return
        fields: list[str] = []
        for record in records:
            fields += await self.differences(entry, record, seq)
        ids = sorted({record.id for record in records})
        if records and not fields:
            await self._confirmed(entry, ids, seq)
            return
        if fields and await self._was_read_after(entry, records):
            to.diverge(entry, ids, _named(fields), now)
        elif to.is_hopeless(entry, now, school.options):
            if entry.vouched:  # a person has looked: nobody can say more
                await self._confirmed(entry, ids, seq)
                return
            to.need_attention(entry, advice.not_synced(), now)
        else:
            if entry.looks % school.options.reread_every == 0:
                await self._ask_for_it(entry, kind, keys)
            to.look_again(entry, None, now, school.options)
        await school.keeper.save(entry)

    async def differences(self, entry: WriteEntry, record: Record, seq: int) -> list[str]:
        """Return the names of what ``record`` has otherwise than the write says."""
        school = self._school
        zone = await self._zone()
        operation = entry.write.operation
        found = differences(operation, record, zone)
        references = [name for name in found if name.endswith("_id")]
        if not references:
            return found
        action = action_of(operation)
        wanted = {str(getattr(action, name)) for name in references}
        same = await school.store.redirects.same(school.school_id, wanted, seq)
        return differences(operation, record, zone, lambda _: same)

    async def supersede(self, entry: WriteEntry) -> None:
        """Note on earlier writes of the same records that ``entry`` has changed or undone them since."""
        school, write = self._school, entry.write
        await note_reversed(school.store.writes, write, school.clock, school.keeper.save)
        if not write.record_ids:
            return
        for earlier in await school.store.writes.made(school.school_id, list(write.record_ids)):
            is_earlier = earlier.position < entry.position and earlier.write_id != entry.write_id
            if is_earlier and not earlier.write.superseded_by:
                await self.superseded(earlier, entry)

    async def superseded(self, earlier: WriteEntry, later: WriteEntry) -> None:
        """Note that ``later`` has changed what ``earlier`` wrote: the MIS says what that one did."""
        now = self._school.clock()
        earlier.write.superseded_by = later.write_id
        began = later.first_left_at
        if (
            earlier.write.state == pb.WRITE_STATE_DIVERGED
            and began is not None
            and to.utc(earlier.write.updated_at) >= began
        ):
            to.confirm(earlier, list(earlier.write.record_ids), earlier.write.confirmed_seq, now)
        earlier.touch(now)
        await self._school.keeper.save(earlier)

    async def _confirmed(self, entry: WriteEntry, record_ids: Sequence[str], seq: int) -> None:
        """Store that a write is confirmed; what follows from that comes first, lest it be forgotten."""
        school = self._school
        if record_ids and not await school.store.writes.followed(school.school_id):
            await school.store.writes.follow_to(school.school_id, seq)
        to.confirm(entry, record_ids, seq, school.clock())
        await self.supersede(entry)
        if not await school.keeper.save(entry):
            return
        # What was committed since may have been compared with all that was confirmed, but for this one.
        now_published = await school.store.records.published(school.school_id)
        if record_ids and now_published > seq:
            for record in await self._records(entry, now_published):
                await self.judge(entry, record, now_published)

    async def judge(self, entry: WriteEntry, record: Record, seq: int) -> None:
        """Store what a record says of a confirmed write as of ``seq``, if that is something else by now."""
        school, now = self._school, self._school.clock()
        fields = await self.differences(entry, record, seq)
        if bool(fields) == (entry.write.state == pb.WRITE_STATE_DIVERGED):
            return
        if not fields:
            to.confirm(entry, list(entry.write.record_ids), seq, now)
            await school.keeper.save(entry)
            return
        later = await self._later(entry, record)
        if later is not None:
            await self.superseded(entry, later)
            return
        to.diverge(entry, [], _named(fields), now)
        await school.keeper.save(entry)

    async def _later(self, entry: WriteEntry, record: Record) -> WriteEntry | None:
        """Return a later write of the same record that the MIS has and that is not confirmed yet."""
        keys = [encode_wire_key(key) for key in record.source_keys]
        sent = await self._school.store.writes.made_by_keys(entry.school_id, keys)
        later = [each for each in sent if each.position > entry.position and each.found]
        return min(later, key=lambda each: each.position, default=None)

    async def _records(self, entry: WriteEntry, seq: int) -> list[Record]:
        """Return what there is of what a write made, as of ``seq``."""
        store, school_id = self._school.store, entry.school_id
        if entry.write.operation_name in BY_RECORD:
            record_id: str = getattr(action_of(entry.write.operation), "record_id")  # noqa: B009 - both have it
            found = await store.records.get(school_id, record_id, seq)
            return [] if found is None else [found]
        kind = OPERATIONS[entry.write.operation_name].kind
        if kind is None:
            return []
        some = [await store.records.find_by_key(school_id, kind, key, seq) for key in entry.keys]
        return [record for record in some if record is not None]

    async def _was_read_after(self, entry: WriteEntry, records: Sequence[Record]) -> bool:
        """Whether a run that began after the write was made has read one of these versions.

        One that began before may have read it before, and stored it since.
        """
        ended = [to.utc(each.ended_at) for each in entry.write.attempts if each.HasField("ended_at")]
        for record in records:
            if record.seq <= entry.seq_sent:
                continue
            try:
                run = (await self._school.store.runs.get(entry.school_id, record.run_id)).run
            except ServiceError:
                return True  # long gone
            began = run.started_at if run.HasField("started_at") else run.created_at
            if not ended or to.utc(began) > max(ended):
                return True
        return False

    async def _ask_for_it(self, entry: WriteEntry, kind: Kind.ValueType, keys: Sequence[SourceKey]) -> None:
        """Ask for what was written to be read again; where that is refused, an ordinary sync confirms it."""
        request_id = str(
            uuid.uuid5(_REQUESTS, f"{entry.write_id}\n{len(entry.write.attempts)}\n{entry.looks}")
        )
        try:
            await self._school.notify(entry.school_id, kind, keys, request_id)
        except ServiceError as error:
            logger.info("write {}: no re-read for now: {}", entry.write_id, error.message)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - the write is sent; only its confirmation takes longer
            logger.error("write {}: no re-read for now: {}", entry.write_id, place_of(error))

    async def _zone(self) -> ZoneInfo:
        return zone_of(await self._school.store.schools.get(self._school.school_id))


def _about(
    entry: WriteEntry, records: Sequence[Record]
) -> tuple[Kind.ValueType | None, tuple[SourceKey, ...]]:
    """Return the kind and keys of what a write made."""
    if entry.write.operation_name not in BY_RECORD:
        return OPERATIONS[entry.write.operation_name].kind, to.keys_of(entry)
    for record in records:
        keys = tuple(map(from_wire, record.source_keys))
        entry.keys = [encode_key(key) for key in keys]
        return record.kind, keys
    return None, ()


def _named(fields: Sequence[str]) -> str:
    return ", ".join(sorted(set(fields)))
