"""The plugin's own check, as its author would run it: with the SDK, and without a server."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from importlib.metadata import entry_points
from importlib.util import find_spec

import pluggy

from schoolgate.v1.kind_pb2 import KIND_STUDENT
from schoolgate_sdk import (
    HOOK_NAMESPACE,
    Connector,
    Parser,
    Row,
    RowRejected,
    SchoolConnection,
    Scope,
    encode_key,
)
from schoolgate_sdk.hooks import ENTRY_POINT_GROUP, ConnectorHooks

[POINT] = entry_points(group=ENTRY_POINT_GROUP)
ROWS = POINT.load().ROWS


def described() -> Connector:
    manager = pluggy.PluginManager(HOOK_NAMESPACE)
    manager.add_hookspecs(ConnectorHooks)
    manager.register(POINT.load(), POINT.name)
    manager.check_pending()
    [connector] = manager.hook.schoolgate_connector()
    assert isinstance(connector, Connector)
    assert connector.name == POINT.name
    return connector


def parses(connector: Connector) -> None:
    parser = connector.dataset("students").parser
    first, *_, blank = ROWS["students"]
    [parsed] = parser(first, {"year_group": "8"})
    assert (parsed.kind, encode_key(parsed.key)) == (KIND_STUDENT, '["acme/pupil",1]')
    assert parsed.message == type(parsed.message)(surname="Adeyemi", forename="Bola", year_group_code="8")
    assert rejected_field(parser, blank) == "surname"


def rejected_field(parser: Parser, row: Row) -> str:
    try:
        taken = list(parser(row, {"year_group": "8"}))
    except RowRejected as rejected:
        return rejected.field
    raise AssertionError(f"taken over: {taken}")


async def reads(connector: Connector) -> None:
    settings = {spec.name: spec.default for spec in connector.settings}
    connection = SchoolConnection("oak", settings, lambda: datetime.now(UTC), {"api_key": "open sesame"})
    async with connector.open(connection) as session:
        pages = [page async for page in session.read(Scope("forms", "2026/27"))]
    assert [dict(row) for page in pages for row in page.rows] == [*ROWS["forms"]]
    assert pages[-1].end is not None


def main() -> None:
    assert find_spec("schoolgate_server") is None
    assert find_spec("grpc") is None
    connector = described()
    parses(connector)
    asyncio.run(reads(connector))
    print(f"{connector.display_name} {connector.version}: all is well")


if __name__ == "__main__":
    main()
