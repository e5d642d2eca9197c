"""Grants, credentials, and what is told to nobody."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from schoolgate.v1.kind_pb2 import KIND_STUDENT
from schoolgate_sdk.connector import Dataset
from schoolgate_sdk.errors import AuthExpired, AuthInvalid, ConnectorError, EntityDenied
from schoolgate_sdk.reading import EntityGrantState, Grants
from schoolgate_sdk.testing.conformance.bench import Bench, Reading, Stage
from schoolgate_sdk.testing.conformance.outcome import Check, CheckFailed, NotApplicable
from schoolgate_sdk.testing.conformance.silence import check_silent, texts_of
from schoolgate_sdk.testing.conformance.target import Fault
from schoolgate_sdk.traffic import Traffic

_UNKNOWN: Final = "NoSuchEntityAnywhere"
_TELLING: Final = (
    *("status", "invalid_json", "reset", "rate_limit", "null_data", "success_false"),
    "revoke",  # last, for it lasts
)


def _entities(bench: Bench) -> list[str]:
    return list(dict.fromkeys(name for dataset in bench.connector.datasets for name in dataset.entities))


async def _granted(bench: Bench) -> str:
    async with bench.stage() as stage, stage.session() as session:
        if not isinstance(session, Grants):
            raise NotApplicable("the session has no grants()")
        entities = _entities(bench)
        states = await session.grants([*entities, _UNKNOWN])
    missing = [name for name in (*entities, _UNKNOWN) if name not in states]
    if missing:
        raise CheckFailed(
            f"grants() says nothing of {missing[0]}", "answer for every entity that is asked for"
        )
    wrong = [name for name in entities if states[name] is not EntityGrantState.GRANTED]
    if wrong:
        raise CheckFailed(
            f"{wrong[0]} is granted, and grants() says {states[wrong[0]]}", "ask the MIS for each entity"
        )
    if states[_UNKNOWN] is EntityGrantState.GRANTED:
        raise CheckFailed(
            "grants() says that an entity is granted that there is not",
            "return UNKNOWN_ENTITY for what the MIS does not know",
        )
    return f"{len(entities)} entities granted, and one that there is not: {states[_UNKNOWN].value}"


async def _revoked(bench: Bench) -> str:
    """Withdraw each entity of each dataset, one at a time: a read of two says which of them was refused."""
    tried = 0
    async with bench.stage() as stage:
        for dataset in bench.connector.datasets:
            for entity in dataset.entities:
                stage.fault(Fault(kind="revoke", entity=entity, times=None))
                await _is_denied(stage, dataset, entity)
                stage.fault(Fault(kind="grant", entity=entity, times=None))
                stage.mis.clear_faults()
                tried += 1
            async with stage.session() as session:
                await stage.sealed(session, dataset)
    return f"{len(_entities(bench))} entities withdrawn from {tried} reads and granted again"


async def _is_denied(stage: Stage, dataset: Dataset, entity: str) -> None:
    async with stage.session() as session:
        if isinstance(session, Grants):
            state = (await session.grants([entity])).get(entity)
            if state is not EntityGrantState.DENIED:
                raise CheckFailed(f"{entity} is withdrawn, and grants() says {state}", "return DENIED")
        await _read_denied(stage, dataset, entity, "is withdrawn")


async def _read_denied(stage: Stage, dataset: Dataset, entity: str, when: str) -> int:
    """See that a read is denied, by the entity's name; return how many pages had come by then."""
    reading = Reading()
    try:
        async with stage.session() as session:
            await stage.read(session, dataset, into=reading)
    except EntityDenied as denied:
        if not denied.entity or denied.entity.lower() != entity.lower():
            raise CheckFailed(
                f"{entity} {when}, and EntityDenied names {denied.entity!r}",
                "name the entity as in Dataset.entities, so that the school can be told what to grant",
            ) from denied
        return len(reading.cursors)
    except ConnectorError as error:
        raise CheckFailed(
            f"{entity} {when}, and the read raises {type(error).__name__}", "raise EntityDenied"
        ) from error
    raise CheckFailed(
        f"{entity} {when}, and the read ended with {len(reading.rows)} rows and without an error",
        "raise EntityDenied: no rows are never the same as no permission",
    )


async def _revoked_mid_read(bench: Bench) -> str:
    dataset = await bench.longest()
    async with bench.stage() as stage:
        entity = dataset.entities[0]
        stage.fault(Fault(kind="revoke", entity=entity, page=2))
        pages = await _read_denied(stage, dataset, entity, "is withdrawn after two pages")
    if not pages:
        raise CheckFailed(
            f"{dataset.name} was denied before any page had come, which shows nothing of a read under way",
            "let the simulator withdraw the entity when its third page is asked for, and yield pages as they "
            "come; where an answer has no pages, waive this check with the reason: unchecked(…)",
        )
    return f"{dataset.name}: denied after {pages} pages"


def _refused(stage: Stage) -> Mapping[str, str]:
    if stage.mis.wrong_credentials is not None:
        return stage.mis.wrong_credentials
    return {name: f"{value}x" for name, value in stage.mis.credentials.items()}


async def _wrong(bench: Bench) -> str:
    async with bench.stage() as stage:
        if not stage.mis.credentials:
            raise NotApplicable("the connector asks for no credentials")
        dataset = bench.connector.datasets[0]
        nothing: Mapping[str, str] = {}
        for what, given in (("wrong", _refused(stage)), ("missing", nothing)):
            before = stage.mis.requests() if stage.mis.requests else 0
            try:
                async with stage.session(given) as session:
                    await stage.read(session, dataset)
            except (AuthInvalid, AuthExpired):
                pass
            except ConnectorError as error:
                raise CheckFailed(
                    f"credentials that are {what} raise {type(error).__name__}", "raise AuthInvalid"
                ) from error
            else:
                raise CheckFailed(
                    f"with credentials that are {what}, a read succeeds",
                    "raise AuthInvalid where one is missing; let the simulator refuse wrong ones",
                )
            sent = stage.mis.requests() - before if stage.mis.requests else 0
            if what == "missing" and sent:
                raise CheckFailed(
                    "requests are sent without the credentials that they need", "raise AuthInvalid in open"
                )
    return "wrong and missing ones: AuthInvalid"


class _Spill(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@asynccontextmanager
async def _listening() -> AsyncGenerator[list[str]]:
    """Yield what is logged in this process, at any level."""
    spill, root = _Spill(), logging.getLogger()
    level = root.level
    root.addHandler(spill)
    root.setLevel(logging.DEBUG)
    try:
        yield spill.texts
    finally:
        root.setLevel(level)
        root.removeHandler(spill)


async def _secrecy(bench: Bench) -> str:
    dataset = bench.of_kind(KIND_STUDENT) or await bench.longest()
    told: list[str] = []
    async with bench.stage() as stage, _listening() as logged:
        connection = stage.connection()
        told += [repr(connection), repr(bench.connector)]
        given: list[tuple[str | None, Mapping[str, str] | None]] = [(None, None), (None, _refused(stage))]
        given += [(kind, None) for kind in _TELLING if kind in bench.target.faults]
        for kind, credentials in given:
            if kind:
                page = 0 if kind == "revoke" else None  # by a request, so that it is seen to strike
                stage.fault(Fault(kind=kind, entity=dataset.entities[0], page=page, times=None))
            stage.traffic = Traffic()  # no pause and no open circuit is to stand before the next way to fail
            told += await _told(stage, dataset, credentials)
            stage.clear_faults()
        told += logged
        check_silent(stage, told)
    return f"{len(told)} texts of {len(given)} ways to fail: no secret, nothing of a pupil"


async def _told(stage: Stage, dataset: Dataset, credentials: Mapping[str, str] | None) -> list[str]:
    """Return everything that is said of a read that may fail."""
    told: list[str] = []
    try:
        async with stage.session(credentials) as session:
            told.append(repr(session))
            await stage.read(session, dataset)
    except ConnectorError as error:
        told += texts_of(error)
    return told


CHECKS: tuple[Check, ...] = (
    Check("grants.states", "Granted, denied and unknown entities are told apart.", _granted),
    Check("grants.revoked", "A withdrawn entity is denied by name, and read again once granted.", _revoked),
    Check("grants.revoked_mid_read", "One withdrawn during a read ends it as denied.", _revoked_mid_read),
    Check("credentials.refused", "Wrong and missing credentials are AuthInvalid.", _wrong),
    Check("secrecy.texts", "No secret and nothing of a pupil in errors, logs and reprs.", _secrecy),
)
