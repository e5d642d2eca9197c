"""A connector description with nothing behind it, for tests that vary one part of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from schoolgate.v1 import kind_pb2
from schoolgate_sdk import Connector, Dataset, KindSpec, Page, Parsed, Row, SchoolConnection, Scope


class EmptySession:
    """A session with a MIS that has no rows."""

    async def read(self, scope: Scope, cursor: str = "") -> AsyncIterator[Page]:
        yield Page()


@asynccontextmanager
async def open_nothing(connection: SchoolConnection) -> AsyncGenerator[EmptySession, None]:
    yield EmptySession()


def parse_nothing(row: Row, settings: Mapping[str, str], /) -> Iterable[Parsed]:
    return ()


def dataset(name: str, *kinds: kind_pb2.Kind.ValueType) -> Dataset:
    specs = tuple(KindSpec(kind, f"fake/{kind}") for kind in kinds)
    return Dataset(name, specs, entities=(), parser=parse_nothing, parser_version=1)


def connector(**changes: Any) -> Connector:
    parts: dict[str, Any] = {
        "name": "fake",
        "display_name": "Fake",
        "version": "1",
        "settings": (),
        "credentials": (),
        "datasets": (dataset("students", kind_pb2.KIND_STUDENT), dataset("staff", kind_pb2.KIND_STAFF)),
        "open": open_nothing,
    }
    return Connector(**parts | changes)
