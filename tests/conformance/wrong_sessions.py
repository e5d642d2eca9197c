"""Sessions that are each wrong in one way: see ``wrong``."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from schoolgate_sdk import (
    ChangedRows,
    EndOfSnapshot,
    EntityGrantState,
    Incomplete,
    Page,
    Row,
    Scope,
    SourceKey,
    Transient,
)
from schoolgate_sdk.testing.conformance.target import Fault
from schoolgate_sdk.traffic import Traffic, Turn
from tests.conformance.toy_connector import Answer, ToySession

# --- what is read -------------------------------------------------------------------------------------


class Stale(ToySession):
    """Knows the MIS as it was when it was first asked."""

    async def ask(self, entity: str, page: int, rows: Any = None) -> Answer:
        first = self.mis.states.setdefault(f"stale {entity}", list(self.mis.rows(entity)))
        return await super().ask(entity, page, first if rows is None else rows)

    def every(self, scope: Scope) -> Any:
        stale = self.mis.states.setdefault(f"stale {scope.dataset}", list(self.mis.rows(scope.dataset)))
        return None if super().every(scope) is None else stale


class StaleMemberships(Stale):
    """… of memberships alone: they name pupils by numbers that they had."""

    async def ask(self, entity: str, page: int, rows: Any = None) -> Answer:
        if entity == "group_membership":
            return await super().ask(entity, page, rows)
        return await ToySession.ask(self, entity, page, rows)


class KeepsDeleted(ToySession):
    """Never lets go of a row that it has seen."""

    async def ask(self, entity: str, page: int, rows: Any = None) -> Answer:
        now = self.mis.rows(entity) if rows is None else rows
        known = {str(row["key"]): row for row in (*self.mis.states.get(f"kept {entity}", ()), *now)}
        self.mis.states[f"kept {entity}"] = list(known.values())
        return await super().ask(entity, page, list(known.values()))


class OneDayMore(ToySession):
    """Takes the end of a window to be its last day."""

    def every(self, scope: Scope) -> Any:
        later = None if scope.date_to is None else scope.date_to + timedelta(days=1)
        return super().every(replace(scope, date_to=later))


class Changed(ToySession):
    """Changes each page of a read."""

    def changed(self, page: Page) -> Page:
        return page

    async def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        async for page in super().read(scope, cursor):
            yield self.changed(page)


class RowsAsGenerator(Changed):
    def changed(self, page: Page) -> Page:
        return replace(page, rows=(row for row in page.rows)) if page.end is None else page  # type: ignore[arg-type]


class NeverProven(Changed):
    def changed(self, page: Page) -> Page:
        end = page.end
        return page if end is None else replace(page, end=replace(end, terminator_proven=False))


class AlwaysProven(Changed):
    """Takes whatever came for all that there is."""

    def changed(self, page: Page) -> Page:
        end = page.end
        if end is None:
            return page
        return replace(page, end=EndOfSnapshot(True, changes_cursor=end.changes_cursor))


class TooFar(ToySession):
    """Resumes one page too late."""

    async def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        skipped = not cursor
        async for page in super().read(scope, cursor):
            if skipped or page.end is not None:
                yield page
            skipped = True


class Resumed(ToySession):
    """Changes the end of a read that is resumed."""

    def ended(self, end: EndOfSnapshot) -> EndOfSnapshot | None:
        return end

    async def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        async for page in super().read(scope, cursor):
            yield page if not cursor or page.end is None else replace(page, end=self.ended(page.end))


class ResumedWithoutEnd(Resumed):
    def ended(self, end: EndOfSnapshot) -> EndOfSnapshot | None:
        return None


class ResumedUnproven(Resumed):
    def ended(self, end: EndOfSnapshot) -> EndOfSnapshot | None:
        return replace(end, terminator_proven=False)


class ResumedUncounted(Resumed):
    """Counts only what came since."""

    def ended(self, end: EndOfSnapshot) -> EndOfSnapshot | None:
        return replace(end, expected_rows=0)


class ResumedWithANewPosition(Resumed):
    """Lets changes go on from where the second session began."""

    def ended(self, end: EndOfSnapshot) -> EndOfSnapshot | None:
        return replace(end, changes_cursor=self.mis.remember("student"))


class TrustsCursors(ToySession):
    async def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        if cursor and not cursor.startswith("["):
            raise KeyError(cursor)
        async for page in super().read(scope, cursor):
            yield page


class CountsOneMore(ToySession):
    async def count(self, scope: Scope) -> int | None:
        return 1 + (await super().count(scope) or 0)


class ReadsAllBack(ToySession):
    async def read_back(self, scope: Scope, keys: Sequence[SourceKey]) -> Sequence[Row]:
        return self.mis.rows(scope.dataset)


class LosesRows(AlwaysProven):
    """Trusts page numbers while pupils leave, and finds nothing by key."""

    async def read_back(self, scope: Scope, keys: Sequence[SourceKey]) -> Sequence[Row]:
        return ()


class CollectsFirst(ToySession):
    async def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        pages = [
            json.loads(json.dumps([*page.rows])) for page in [p async for p in super().read(scope, cursor)]
        ]
        position = self.mis.remember(scope.dataset)
        for number, rows in enumerate(pages):
            end = EndOfSnapshot(True, changes_cursor=position) if number == len(pages) - 1 else None
            yield Page(rows, f"page {number}", end)


# --- changes, grants, secrets -------------------------------------------------------------------------


class ForgetsChanges(ToySession):
    async def changes(self, scope: Scope, cursor: str, overlap: timedelta) -> AsyncIterator[ChangedRows]:
        async for changed in super().changes(scope, cursor, overlap):
            yield replace(changed, rows=changed.rows[1:])


class ForgetsDeletions(ToySession):
    async def changes(self, scope: Scope, cursor: str, overlap: timedelta) -> AsyncIterator[ChangedRows]:
        async for changed in super().changes(scope, cursor, overlap):
            yield replace(changed, deleted=())


class AnyPosition(ToySession):
    async def changes(self, scope: Scope, cursor: str, overlap: timedelta) -> AsyncIterator[ChangedRows]:
        if cursor in self.mis.states:
            async for changed in super().changes(scope, cursor, overlap):
                yield changed
        else:
            yield ChangedRows((), (), cursor, end=True)


class GrantsAll(ToySession):
    async def grants(self, entities: Sequence[str]) -> Mapping[str, EntityGrantState]:
        return dict.fromkeys(entities, EntityGrantState.GRANTED)


class NoneIsNothing(ToySession):
    """Takes no permission for no rows."""

    async def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        if scope.dataset in self.mis.granted:
            async for page in super().read(scope, cursor):
                if scope.dataset not in self.mis.granted:
                    break
                yield page
        else:
            yield Page(end=EndOfSnapshot(True, 0))


class DeniesLate(ToySession):
    """Takes a permission that is withdrawn on the way for the end."""

    async def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        try:
            async for page in super().read(scope, cursor):
                yield page
        except Exception:
            if scope.dataset in self.mis.granted:
                raise
            yield Page(end=EndOfSnapshot(True))


class AnySecret(ToySession):
    def admit(self, entity: str, page: int) -> Fault | None:
        self.connection = replace(self.connection, credentials={"secret": "the-toy-secret"})
        return super().admit(entity, page)


class Telling(ToySession):
    async def suffer(self, fault: Fault, turn: Turn, entity: str) -> None:
        try:
            await super().suffer(fault, turn, entity)
        except Transient as error:
            raise Transient(f"{error}: {self.mis.rows('student')[0]}") from error


# --- faults and pauses --------------------------------------------------------------------------------


class Untyped(ToySession):
    """Lets the errors of its libraries through."""

    async def suffer(self, fault: Fault, turn: Turn, entity: str) -> None:
        try:
            await super().suffer(fault, turn, entity)
        except Transient as error:
            raise ConnectionError("reset") from error


class GivesUp(ToySession):
    """Takes slowness and pauses for the end of the world."""

    async def suffer(self, fault: Fault, turn: Turn, entity: str) -> None:
        if fault.kind in {"slow", "rate_limit", "registration_hour", "expire_credentials"}:
            raise Incomplete("it is not as it should be")
        await super().suffer(fault, turn, entity)

    def admit(self, entity: str, page: int) -> Fault | None:
        if self.mis.expired:
            raise Transient("it is not as it should be")
        return super().admit(entity, page)


class Unpadded(ToySession):
    """Keys by what comes, padding included."""

    def page(self, entity: str, page: int, every: Any, fault: Fault | None) -> Answer:
        answer = super().page(entity, page, every, fault)
        if fault is None or fault.kind != "padded_rows":
            return answer
        return replace(answer, rows=[{**row, "key": [*row["key"], "padded"]} for row in answer.rows])


class LosesDoubles(AlwaysProven):
    """Takes a page in which a row is repeated for the last one."""

    def page(self, entity: str, page: int, every: Any, fault: Fault | None) -> Answer:
        answer = super().page(entity, page, every, fault)
        if fault is not None and fault.kind in {"duplicate_rows", "loop_page", "other_school"}:
            return replace(answer, rows=[])
        return answer


class AnySchool(ToySession):
    """Takes whatever comes for the school's own."""

    def check_school(self, entity: str, answer: Answer) -> None:
        return None


class Crashing(ToySession):
    """Meets rows that it does not expect with an error of its own."""

    def page(self, entity: str, page: int, every: Any, fault: Fault | None) -> Answer:
        if fault is not None:
            raise IndexError(page)
        return super().page(entity, page, every, fault)


class Impolite(ToySession):
    async def ask_once(self, entity: str, page: int, rows: Any = None) -> Answer:
        self.connection = replace(self.connection, traffic=Traffic())
        return await super().ask_once(entity, page, rows)


class NoPause(Impolite):
    """Asks again at once."""

    def pause(self, turn: Turn, retry_after: str | None) -> None:
        raise Transient("the MIS asks for a pause")
