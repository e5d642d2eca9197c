"""Reading: the end is shown, a cursor resumes, counts and rows by key agree, memory is bounded by pages."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Sequence
from typing import Final

import orjson

from schoolgate_sdk.connector import Dataset, Session
from schoolgate_sdk.errors import ConnectorError
from schoolgate_sdk.keys import SourceKey
from schoolgate_sdk.parsing import Row, RowRejected
from schoolgate_sdk.reading import CountRows, ReadBack
from schoolgate_sdk.testing.conformance.bench import Arrival, Bench, Reading, Stage
from schoolgate_sdk.testing.conformance.comparing import Key
from schoolgate_sdk.testing.conformance.outcome import Check, CheckFailed, NotApplicable

_KEYS_ASKED: Final = 25

_PAGES_BETWEEN: Final = 6
"""Pages between two looks at the memory, for what is garbage has to be collected first."""

_MOST_HELD: Final = 0.5
"""Part of all rows, by their size as JSON. Rows as objects take several times their size as JSON, so whoever
keeps them all holds more than all of it, and whoever keeps a page of thirty or more far less than half."""


async def _end(bench: Bench) -> str:
    stage, _, _ = await bench.well()
    pages = {name: len(reading.cursors) for name, reading in stage.readings.items()}
    async with bench.stage() as fresh, fresh.session() as session:
        for dataset in bench.connector.datasets:
            async for page in session.read(fresh.scope(dataset)):
                _check_page(dataset, page.rows, page.cursor)
    return f"{sum(pages.values())} pages of {len(pages)} datasets"


def _check_page(dataset: Dataset, rows: object, cursor: object) -> None:
    problem = None
    if not isinstance(rows, list | tuple):
        problem = f"has rows that are a {type(rows).__name__}, and neither a list nor a tuple"
    elif not isinstance(cursor, str):
        problem = f"has a cursor that is a {type(cursor).__name__}"
    else:
        try:
            orjson.dumps(rows)
        except TypeError as error:
            problem = f"has rows that JSON cannot say ({error})"
    if problem:
        raise CheckFailed(f"a page of {dataset.name} {problem}", 'yield Page(rows=[dict, …], cursor="…")')


async def _resume(bench: Bench) -> str:
    resumed = 0
    async with bench.stage() as stage:
        for dataset in bench.connector.datasets:
            async with stage.session() as session:
                whole = await stage.sealed(session, dataset)
            named = [cursor for cursor, _ in whole.cursors[:-1]]
            if len(set(named)) < len(named):
                raise CheckFailed(
                    f"two pages of {dataset.name} have the same cursor",
                    "give every page a cursor of its own, from which the read goes on",
                )
            for cursor, before in _some(whole.cursors[:-1]):
                if not cursor:
                    raise CheckFailed(f"a page of {dataset.name} has no cursor", "give every page one")
                async with stage.session() as session:
                    rest = await stage.read(session, dataset, cursor)
                problem = _resumed_wrongly(whole, rest, before)
                if problem:
                    raise CheckFailed(
                        f"{dataset.name} resumed after {before} of {len(whole.rows)} rows {problem}",
                        "let a cursor hold all that the read needs to go on in another session",
                    )
                resumed += 1
    if not resumed:
        raise NotApplicable("every dataset came in one page")
    return f"{resumed} reads resumed in another session"


def _resumed_wrongly(whole: Reading, rest: Reading, before: int) -> str | None:
    """Return what tells a resumed read from the undisturbed one; ``None`` where nothing does."""
    if rest.rows != whole.rows[before:]:
        return f"gave {len(rest.rows)} rows that differ"
    if rest.end is None:
        return "just stopped, without a page whose end is set"
    if whole.end is None:
        return None
    for name in ("terminator_proven", "expected_rows", "contradiction"):
        one, other = getattr(whole.end, name), getattr(rest.end, name)
        if one != other:
            return f"ended with {name} {other!r}, and the undisturbed read with {one!r}"
    if rest.end.changes_cursor != whole.end.changes_cursor:
        # What changed between the first page and the page after which it went on would never be told.
        return "ended with a position for changes that is not the one from before the first page"
    return None


def _some(cursors: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return the first, a middle and the last one."""
    places = sorted({0, len(cursors) // 2, len(cursors) - 1}) if cursors else []
    return [cursors[place] for place in places]


async def _stray_cursor(bench: Bench) -> str:
    dataset = await bench.longest()
    async with bench.stage() as stage, stage.session() as session:
        try:
            reading = await stage.read(session, dataset, "no cursor of anybody's \u2603")
        except ConnectorError as error:
            return f"{type(error).__name__}"
        except Exception as error:
            raise CheckFailed(
                f"a cursor that is none raises {type(error).__name__}",
                "raise Incomplete for a cursor that cannot be understood",
            ) from error
    whole = (await bench.well())[0].readings[dataset.name]
    if reading.doubt() is None and len(reading.rows) < len(whole.rows):
        raise CheckFailed(
            f"a cursor that is none gave {len(reading.rows)} of {len(whole.rows)} rows as a whole snapshot",
            "raise Incomplete for a cursor that cannot be understood",
        )
    return "the dataset was read from its beginning"


async def _count(bench: Bench) -> str:
    said: list[str] = []
    async with bench.stage() as stage, stage.session() as session:
        if not isinstance(session, CountRows):
            raise NotApplicable("the session has no count()")
        for dataset in bench.connector.datasets:
            counted = await session.count(stage.scope(dataset))
            rows = len((await stage.sealed(session, dataset)).rows)
            if counted is None:
                continue
            if counted != rows:
                raise CheckFailed(
                    f"{dataset.name}: the count is {counted}, and {rows} rows came",
                    "count what read gives under the same scope, else return None",
                )
            said.append(dataset.name)
    if not said:
        raise NotApplicable("the MIS has no count of any dataset")
    return ", ".join(said)


async def _read_back(bench: Bench) -> str:
    asked = 0
    async with bench.stage() as stage, stage.session() as session:
        if not isinstance(session, ReadBack):
            raise NotApplicable("the session has no read_back()")
        for dataset in bench.connector.datasets:
            whole = Arrival()
            whole.add(dataset, (await stage.sealed(session, dataset)).rows, stage.settings)
            for spec in dataset.kinds:
                keys = [parsed.key for parsed in whole.parsed if parsed.kind == spec.kind]
                keys = list(dict.fromkeys(keys))
                some = keys[:: max(1, len(keys) // _KEYS_ASKED)][:_KEYS_ASKED]
                if some:
                    asked += await _ask(stage, session, dataset, some)
    if not asked:
        raise NotApplicable("no rows came")
    return f"{asked} keys asked for, each answered, and nothing else"


async def _ask(stage: Stage, session: ReadBack, dataset: Dataset, keys: list[SourceKey]) -> int:
    """Ask for keys that there are, and for one that there is not; return how many were asked for."""
    stray = _stray(keys)
    rows = await session.read_back(stage.scope(dataset), [*keys, stray])
    found: set[SourceKey] = set()
    for row in rows:
        of_row = _keys_of(dataset, row, stage)
        if not of_row.intersection(keys):
            raise CheckFailed(
                f"{dataset.name}: read_back gave a row that was not asked for",
                "leave out rows that have none of the keys, whatever the MIS's filter gave",
            )
        found |= of_row
    lost = [key for key in keys if key not in found]
    if lost:
        raise CheckFailed(
            f"{dataset.name}: read_back did not give {len(lost)} of {len(keys)} keys that there are",
            "find the rows of every key that the parser yields, of every kind of the dataset",
        )
    if list(await session.read_back(stage.scope(dataset), [stray])):
        raise CheckFailed(
            f"{dataset.name}: read_back gave rows for a key that nothing has", "leave out what is missing"
        )
    return len(keys)


def _stray(keys: Sequence[SourceKey]) -> SourceKey:
    """Return a key of the same form that nothing has."""
    one = keys[0]
    first = one.parts[0]
    return one._replace(parts=(2_000_000_011 if isinstance(first, int) else "Z-2000000011", *one.parts[1:]))


def _keys_of(dataset: Dataset, row: Row, stage: Stage) -> set[SourceKey]:
    try:
        return {parsed.key for parsed in dataset.parser(row, stage.settings)}
    except RowRejected as rejected:
        return set() if rejected.key is None else {rejected.key}


async def _gone(bench: Bench) -> str:
    """Read while pupils go: rows that were there throughout come, or can be asked for."""
    read = missed = 0
    async with bench.stage(bench.large_world()) as stage, stage.session() as session:
        for dataset in bench.connector.datasets:
            before = await stage.sealed(session, dataset)
            if len(before.cursors) >= 3:
                read += 1
                missed += await _move_under(stage, session, dataset, before)
    if not read:
        raise NotApplicable("every dataset came in one page")
    slipped = f"; {missed} rows slipped through, and read_back gave them" if missed else ""
    return f"pupils went and joined during the read of {read} datasets{slipped}"


async def _move_under(stage: Stage, session: Session, dataset: Dataset, earlier: Reading) -> int:
    """Let pupils of the first page go during a read; return how many rows that stayed it missed."""
    before, during, after = Arrival(), Arrival(), Arrival()
    before.add(dataset, earlier.rows, stage.settings)
    reading = Reading()
    try:
        async for page in session.read(stage.scope(dataset)):
            during.add(dataset, page.rows, stage.settings)
            if not reading.cursors:
                shown = [pupil for pupil in stage.world.pupils if pupil not in stage.world.withheld]
                for pupil in shown[:3]:
                    stage.world.withdraw_consent(pupil)
                stage.world.join()
            reading.cursors.append((page.cursor, 0))
            reading.rows.extend(page.rows)
            reading.end = page.end
    except ConnectorError:
        return 0
    after.add(dataset, (await stage.sealed(session, dataset)).rows, stage.settings)
    there = before.entities.keys() & after.entities.keys()
    missed = [key for key in there if key not in during.entities]
    if not missed or reading.doubt():
        return 0
    await _ask_for_missed(stage, session, dataset, missed)
    return len(missed)


async def _ask_for_missed(stage: Stage, session: Session, dataset: Dataset, missed: Sequence[Key]) -> None:
    keys = [key for _, key in missed if isinstance(key, SourceKey)]
    found: set[SourceKey] = set()
    if isinstance(session, ReadBack):
        for start in range(0, len(keys), 200):
            for row in await session.read_back(stage.scope(dataset), keys[start : start + 200]):
                found |= _keys_of(dataset, row, stage)
    lost = [key for key in keys if key not in found]
    if lost:
        raise CheckFailed(
            f"{dataset.name}: {len(lost)} rows that were there throughout are missing from a read that claims"
            " to be whole: pupils went while it went on",
            "compare a count before and after, read by key instead of by page number, or offer ReadBack",
        )


async def _memory(bench: Bench) -> str:
    async with bench.stage(bench.large_world()) as stage, stage.session() as session:
        pages, size, dataset = 0, 0, bench.connector.datasets[0]
        for each in bench.connector.datasets:
            whole = await stage.read(session, each)  # the simulator, too, has by now what it keeps
            if len(whole.cursors) > pages:
                pages, size, dataset = len(whole.cursors), len(orjson.dumps(whole.rows)), each
            del whole
        held, already = 0, tracemalloc.is_tracing()
        if not already:
            tracemalloc.start()
        try:
            gc.collect()
            base = tracemalloc.get_traced_memory()[0]
            number = 0
            async for page in session.read(stage.scope(dataset)):
                del page
                number += 1
                if number % _PAGES_BETWEEN == 0:
                    gc.collect()
                    held = max(held, tracemalloc.get_traced_memory()[0] - base)
        finally:
            if not already:
                tracemalloc.stop()
    if pages < 30:
        raise NotApplicable(f"{dataset.name} came in {pages} pages; with thirty it can be told")
    if held > _MOST_HELD * size:
        raise CheckFailed(
            f"between two pages of {dataset.name}, {held / size:.1f} times the size of all {pages} pages "
            "was held",
            "yield each page as it comes and forget it; do not collect rows first",
        )
    return f"{pages} pages of {dataset.name}, never more than {held / size:.0%} of them held"


CHECKS: tuple[Check, ...] = (
    Check("reading.pages", "Pages are what the protocol says, and a read ends with its end shown.", _end),
    Check("reading.resume", "A read resumed after any page gives the rows that follow.", _resume),
    Check("reading.stray_cursor", "A cursor that is none is refused, or starts anew.", _stray_cursor),
    Check("reading.count", "Counts equal the rows that come.", _count),
    Check("reading.read_back", "Rows by key: exactly those that were asked for.", _read_back),
    Check("reading.moved_under", "Rows that stay are not lost to a change during the read.", _gone),
    Check("reading.memory", "A read holds pages, never a dataset.", _memory),
)
