"""Faults on the wire: a typed error or all rows, and never success with rows missing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from schoolgate.v1.kind_pb2 import KIND_ATTENDANCE_MARK
from schoolgate_sdk.connector import Dataset
from schoolgate_sdk.errors import (
    AuthExpired,
    AuthInvalid,
    ConnectorError,
    Incomplete,
    RateLimited,
    SchemaChanged,
    Transient,
)
from schoolgate_sdk.testing.conformance.bench import Arrival, Bench, Reading, Stage
from schoolgate_sdk.testing.conformance.comparing import Entity, compare
from schoolgate_sdk.testing.conformance.outcome import Check, CheckFailed, NotApplicable
from schoolgate_sdk.testing.conformance.places import Place, places
from schoolgate_sdk.testing.conformance.target import FAULTS, Fault
from schoolgate_sdk.traffic import Traffic

_UNWELL: Final = (Transient, SchemaChanged, Incomplete)
_ANY: Final = (ConnectorError,)

_READS_AT_ONCE: Final = 4
"""Reads at once where an answer is waited for: more would make a slow machine late."""

Errors = tuple[type[ConnectorError], ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """One way in which a fault strikes: what may be raised, and whether rows may come instead.

    ``errors`` are those that may be raised; ``must_fail`` says that the fault lasts, so that one has to be;
    ``must_arrive`` that all rows have to come, for nothing is lost; ``needs_length`` that it takes pages.
    """

    fault: Fault
    errors: Errors = ()
    must_fail: bool = False
    must_arrive: bool = False
    needs_length: bool = False
    seconds: Callable[[float], float] | None = None


def _lasting(
    kind: str, errors: Errors, *, status: int | None = None, retry_after: str | None = None
) -> Trial:
    fault = Fault(kind=kind, times=None, status=status, retry_after=retry_after)
    return Trial(fault, errors, must_fail=True)


def _once(
    kind: str, errors: Errors, *, page: int = 1, keep: int | None = None, status: int | None = None
) -> Trial:
    return Trial(Fault(kind=kind, page=page, keep=keep, status=status), errors)


_TRIALS: Final[dict[str, tuple[Trial, ...]]] = {
    "slow": (Trial(Fault(kind="slow", page=1), must_arrive=True, seconds=lambda timeout: timeout / 5),),
    "late": (
        Trial(Fault(kind="late", page=1), _UNWELL, seconds=lambda timeout: timeout * 1.5),
        Trial(
            Fault(kind="late", times=None),
            (Transient,),
            must_fail=True,
            needs_length=True,  # for every attempt waits as long as the connector does
            seconds=lambda timeout: timeout * 1.5,
        ),
    ),
    "cut": (_once("cut", _UNWELL), _lasting("cut", _UNWELL)),
    "reset": (_once("reset", _UNWELL), _lasting("reset", (Transient, Incomplete))),
    "status": (
        _once("status", (Transient,), status=500),
        _lasting("status", (Transient,), status=503),
        _lasting("status", _ANY, status=418),
    ),
    "rate_limit": (
        _once("rate_limit", (RateLimited,)),
        _lasting("rate_limit", (RateLimited,)),
        _lasting("rate_limit", (RateLimited,), retry_after="3600"),
        _lasting("rate_limit", (RateLimited,), retry_after="soon"),
    ),
    "invalid_json": (_once("invalid_json", _UNWELL), _lasting("invalid_json", _UNWELL)),
    "success_false": (_once("success_false", _UNWELL), _lasting("success_false", _ANY)),
    "null_data": (_once("null_data", _UNWELL), _lasting("null_data", _UNWELL)),
    "truncate_page": (
        *(_once("truncate_page", _ANY, page=page) for page in (0, 1)),
        *(_once("truncate_page", _ANY, page=page, keep=0) for page in (0, 1)),
        Trial(Fault(kind="truncate_page", page=1, times=None), _ANY, needs_length=True),
    ),
    "duplicate_rows": (
        Trial(Fault(kind="duplicate_rows", page=1), _ANY),
        Trial(Fault(kind="duplicate_rows", times=None), _ANY),
    ),
    "padded_rows": (Trial(Fault(kind="padded_rows", times=None), must_arrive=True),),
    "loop_page": (Trial(Fault(kind="loop_page", page=1, times=None), _ANY, needs_length=True),),
    "other_school": (Trial(Fault(kind="other_school", page=1), _ANY),),
    "mark_change": (Trial(Fault(kind="mark_change", times=None), must_arrive=True),),
    "registration_hour": (
        Trial(
            Fault(kind="registration_hour", times=None),
            (RateLimited, Transient),
            seconds=lambda timeout: timeout / 50,
        ),
    ),
    "expire_credentials": (
        Trial(Fault(kind="expire_credentials", times=None), (AuthExpired, AuthInvalid), must_fail=True),
    ),
}


async def _try(bench: Bench, stage: Stage, place: Place, trial: Trial) -> str:
    """Read under a fault; return what came of it."""
    dataset, fault = place.dataset, _fault(stage, place, trial)
    stage.traffic = Traffic()  # no pause and no open circuit of another place is to stand before this one
    stage.fault(fault)
    about = f"{place}: {fault.kind}{_options(fault)}{'' if fault.times else ', lasting'}"
    try:
        async with stage.session() as session:
            outcome: Reading | ConnectorError = await stage.read(session, dataset)
    except ConnectorError as error:
        outcome = error
    except CheckFailed:
        raise
    except Exception as error:
        raise CheckFailed(
            f"{about}: the read raises {type(error).__name__}",
            "raise an error of schoolgate_sdk.errors for whatever a MIS may do",
        ) from error
    finally:
        stage.mis.clear_faults()
    stage.check_struck()
    if isinstance(outcome, ConnectorError):
        _check_error(outcome, trial, about)
        _check_pause(bench, outcome, fault)
        return type(outcome).__name__
    well = (await bench.well())[1]
    if fault.kind == "mark_change":
        return _read_marks(stage, dataset, outcome, well)
    _check_rows(stage, dataset, trial, outcome, about, well)
    return "all rows" if outcome.doubt() is None else "no sealed snapshot"


def _fault(stage: Stage, place: Place, trial: Trial) -> Fault:
    """Return the fault at a place; where that is short, its first page stands for every other."""
    page = trial.fault.page
    seconds = None if trial.seconds is None else trial.seconds(stage.mis.timeout)
    entity = None if page is None else place.entity
    page = page if page is None or place.is_long else 0
    return replace(trial.fault, entity=entity, page=page, seconds=seconds)


def _options(fault: Fault) -> str:
    named = {"status": fault.status, "retry_after": fault.retry_after, "keep": fault.keep, "page": fault.page}
    said = ", ".join(f"{name} {value}" for name, value in named.items() if value is not None)
    return f" ({said})" if said else ""


def _check_error(error: ConnectorError, trial: Trial, about: str) -> None:
    if not isinstance(error, trial.errors):
        expected = " or ".join(kind.__name__ for kind in trial.errors) or "all rows"
        raise CheckFailed(
            f"{about}: the read raises {type(error).__name__} ({error}), and not {expected}",
            "the type of an error says what happens next: see schoolgate_sdk.errors",
        )


def _check_pause(bench: Bench, error: ConnectorError, fault: Fault) -> None:
    """Look at how long a refusal asks to wait, where the MIS said so."""
    if not isinstance(error, RateLimited) or fault.retry_after != "3600":
        return
    until = error.until
    if until is None or until.tzinfo is None:
        raise CheckFailed(
            "Retry-After: 3600 came, and RateLimited does not say until when, with a time zone",
            "RateLimited(…, until=connection.now() + timedelta(seconds=3600))",
        )
    off = abs(until - bench.now() - timedelta(hours=1))
    if off > timedelta(minutes=1):
        raise CheckFailed(
            f"Retry-After: 3600 came, and RateLimited.until is {off} off",
            "count from connection.now()",
        )


def _check_rows(
    stage: Stage, dataset: Dataset, trial: Trial, reading: Reading, about: str, well: Arrival
) -> None:
    arrival = Arrival()
    try:
        arrival.add(dataset, reading.rows, stage.settings)
    except Exception as error:
        raise CheckFailed(
            f"{about}: the parser raises {type(error).__name__}", "refuse rows with RowRejected"
        ) from error
    doubt = reading.doubt()
    if trial.must_fail:
        raise CheckFailed(
            f"{about}: the read ended with {len(reading.rows)} rows and without an error",
            "give up after a few attempts, with a typed error",
        )
    if trial.fault.kind == "other_school":
        _check_own(arrival, well)
    if doubt is not None and not trial.must_arrive:
        return
    if doubt is not None:
        raise CheckFailed(f"{about}: {doubt}, though nothing was lost", "take it in stride")
    kinds = {spec.kind for spec in dataset.kinds}
    expected = [entity for entity in well.all() if entity.kind in kinds]
    found = {(entity.kind, entity.key) for entity in arrival.all()}
    missing = [entity for entity in expected if (entity.kind, entity.key) not in found]
    if missing:
        raise CheckFailed(
            f"{about}: a read that claims to be whole lacks {len(missing)} of {len(expected)} entities, such "
            f"as {missing[0]}",
            "show the end, and say what speaks against it, as docs/connector-guide.md says under Rules",
        )
    differences = compare(expected, arrival.all(), arrival.aliases).of()
    if differences:
        raise CheckFailed(f"{about}: {differences[0]}", "trim texts; take equal rows for one")


def _check_own(arrival: Arrival, well: Arrival) -> None:
    """Look for what is not this school's, in a read that claims to be whole and in any other."""
    foreign = [
        entity for entity in arrival.all() if entity not in well.entities.get((entity.kind, entity.key), ())
    ]
    if foreign:
        raise CheckFailed(
            f"another school's page came, and {len(foreign)} entities of it were passed on: {foreign[0]}, …",
            "look at what says whose a row is, and raise SchemaChanged; where nothing does, waive this check",
        )


def _read_marks(stage: Stage, dataset: Dataset, reading: Reading, well: Arrival) -> str:
    """See that a parser which schools can be promoted to reads marks with subcodes; return its version."""
    doubt = reading.doubt()
    problems = [] if doubt is None else [doubt]
    for version, parser in {dataset.parser_version: dataset.parser, **dataset.other_parsers}.items():
        if doubt is not None:
            break
        problem = _misread(replace(dataset, parser=parser), reading, stage, well)
        if problem is None:
            return f"read by parser version {version}"
        problems.append(f"version {version}: {problem}")
    raise CheckFailed(
        f"marks came with subcodes, and were not read: {'; '.join(problems)}",
        "let code be what it was before, and subcode the rest; offer that as a parser version of its own",
    )


def _misread(dataset: Dataset, reading: Reading, stage: Stage, well: Arrival) -> str | None:
    """Return what of marks with subcodes is read wrongly: their codes are those that they were without."""
    arrival = Arrival()
    arrival.add(dataset, reading.rows, stage.settings)
    with_subcode = 0
    for entity in (entity for entity in well.all() if entity.kind == KIND_ATTENDANCE_MARK):
        found = arrival.entities.get((entity.kind, entity.key), [])
        with_subcode += sum("subcode" in one.fields for one in found)
        if [_without_subcode(one) for one in found] != [_without_subcode(entity)]:
            came = ", ".join(repr(one.fields.get("code")) for one in found) or "nothing"
            return f"{entity.fields.get('code')!r} of {entity} came as {came}"
    return (
        None
        if with_subcode
        else "no mark has a subcode, so the simulator did not change them or nobody reads it"
    )


def _without_subcode(mark: Entity) -> Entity:
    return replace(mark, fields={name: value for name, value in mark.fields.items() if name != "subcode"})


def _fault_check(kind: str) -> Check:
    async def run(bench: Bench) -> str:
        every = await _places(bench, kind)
        seen: list[str] = []
        tried: dict[str, Place] = {}
        for trial in _TRIALS[kind]:
            struck = [place for place in every if place.is_long] if trial.needs_length else every
            struck = struck or [await _longest(bench)]  # a trial without any place would always hold
            seen += await _at_each(bench, struck, trial)
            tried |= {str(place): place for place in struck}
        return f"{_named(list(tried.values()))}: {', '.join(dict.fromkeys(seen))}"

    return Check(f"wire.{kind}", f"{FAULTS[kind]} A typed error, or all rows.", run)


async def _at_each(bench: Bench, every: Sequence[Place], trial: Trial) -> list[str]:
    """Try one place after another, on one stage where nothing of a fault stays, or some at once that wait."""

    async def alone(place: Place) -> str:
        async with at_once, bench.stage() as stage:
            return await _try_and_recover(bench, stage, place, trial)

    if trial.seconds is not None or trial.fault.is_at_once:
        at_once = asyncio.Semaphore(_READS_AT_ONCE if trial.seconds is not None else 1)
        return list(await asyncio.gather(*map(alone, every)))
    async with bench.stage() as stage:
        return [await _try_and_recover(bench, stage, place, trial) for place in every]


async def _try_and_recover(bench: Bench, stage: Stage, place: Place, trial: Trial) -> str:
    seen = await _try(bench, stage, place, trial)
    kind = trial.fault.kind
    # To bound the time: after each way to strike on long places, on the others after the last.
    if kind not in {"mark_change", "expire_credentials"} and (place.is_long or trial is _TRIALS[kind][-1]):
        await _recovers(stage, place.dataset, kind)
    return seen


def _named(every: Sequence[Place]) -> str:
    """Return how many datasets were struck, and which further entities of theirs."""
    datasets = list(dict.fromkeys(place.dataset.name for place in every))
    further = [str(place) for place in every if str(place) != place.dataset.name]
    said = datasets[0] if len(datasets) == 1 else f"{len(datasets)} datasets"
    return ", ".join([said, *further])


async def _longest(bench: Bench) -> Place:
    dataset = await bench.longest()
    return Place(dataset, dataset.entities[0], is_long=True)


async def _places(bench: Bench, kind: str) -> tuple[Place, ...]:
    """Return where a fault strikes: everywhere, or among marks."""
    if kind != "mark_change":
        bench.check_offered(kind)
        await bench.longest()
        return await places(bench)
    dataset = bench.of_kind(KIND_ATTENDANCE_MARK)
    if dataset is None:
        raise NotApplicable("no dataset yields attendance marks")
    bench.check_offered(kind)
    return (Place(dataset, dataset.entities[0], is_long=True),)


async def _recovers(stage: Stage, dataset: Dataset, kind: str) -> None:
    """See that the next read is well again: what one school's MIS did is over when it is over."""
    try:
        async with stage.session() as session:
            doubt = (await stage.read(session, dataset)).doubt()
    except RateLimited:
        if kind in {"rate_limit", "registration_hour"}:
            return  # a pause that was asked for is kept to
        raise
    except ConnectorError as error:
        raise CheckFailed(
            f"after {kind} is over, the next read still fails: {type(error).__name__}: {error}",
            "keep nothing of a failure beyond its session",
        ) from error
    if doubt:
        raise CheckFailed(f"after {kind} is over: {doubt}", "keep nothing of a failure beyond its session")


CHECKS: tuple[Check, ...] = tuple(_fault_check(kind) for kind in _TRIALS)
