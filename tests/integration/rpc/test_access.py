"""Who may do what: tokens, roles, schools (G17)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from schoolgate.v1 import (
    diagnostics_service_pb2,
    query_service_pb2,
    reporting_service_pb2,
    school_service_pb2,
    sync_service_pb2,
    writeback_service_pb2,
)
from schoolgate.v1 import school_service_pb2 as s
from schoolgate_server.rpc.callers import CallersFile, hash_token
from schoolgate_server.rpc.roles import METHOD_ROLES, Role
from schoolgate_server.store.store import Store
from tests.support.engine import TickingClock
from tests.support.scripted import ScriptedMis, scripted_connector
from tests.support.served import (
    Client,
    Served,
    bearer,
    failure_of,
    health_stub,
    new_request_id,
    refused,
    served,
)

TOKENS = {role: f"{role.value.lower()}-token" for role in Role}
EVERY_SCHOOL = "admin-of-all"

SERVICES: list[ServiceDescriptor] = [
    service
    for module in (
        school_service_pb2,
        sync_service_pb2,
        query_service_pb2,
        reporting_service_pb2,
        writeback_service_pb2,
        diagnostics_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
]
METHODS = [(service, method.name) for service in SERVICES for method in service.methods]


def entry(name: str, token: str, roles: Iterable[Role], schools: Iterable[str]) -> str:
    return (
        f'[[callers]]\nname = "{name}"\ntoken_sha256 = "{hash_token(token)}"\n'
        f"roles = {[role.value for role in roles]}\nschools = {list(schools)}\n"
    )


@pytest.fixture
def callers_file(tmp_path: Path) -> Path:
    path = tmp_path / "callers.toml"
    entries = [entry(role.value.lower(), TOKENS[role], [role], ["oak"]) for role in Role]
    path.write_text("\n".join([*entries, entry("all", EVERY_SCHOOL, [Role.ADMIN], ["*"])]))
    return path


@asynccontextmanager
async def guarded(store: Store, mis: ScriptedMis, callers: CallersFile) -> AsyncGenerator[Served]:
    async with served(store, scripted_connector(mis), callers=callers, clock=TickingClock()) as running:
        for school_id in ("oak", "elm"):
            await running.client.schools.CreateSchool(
                s.CreateSchoolRequest(
                    school=s.School(school_id=school_id, connector="scripted"), request_id=new_request_id()
                ),
                metadata=bearer(EVERY_SCHOOL),
            )
        yield running


@pytest.fixture
async def running(store: Store, mis: ScriptedMis, callers_file: Path) -> AsyncGenerator[Served]:
    async with guarded(store, mis, CallersFile(callers_file)) as running:
        yield running


async def call(
    client: Client, service: ServiceDescriptor, method: str, token: str | None, school_id: str = "oak"
) -> grpc.aio.AioRpcError | None:
    """Call any method with an otherwise empty request for ``school_id``; return how it failed, if it did."""
    descriptor = service.methods_by_name[method]
    request = GetMessageClass(descriptor.input_type)()
    fields = descriptor.input_type.fields_by_name
    if "school_id" in fields:
        request.school_id = school_id  # type: ignore[attr-defined]
    elif "school" in fields:
        request.school.school_id = school_id  # type: ignore[attr-defined]
    path = f"/{service.full_name}/{method}"
    metadata = bearer(token) if token is not None else ()
    channel: Any = client.channel
    raw = request.SerializeToString()
    try:
        if descriptor.server_streaming:
            async for _ in channel.unary_stream(path)(raw, metadata=metadata):
                break  # some never end
        else:
            await channel.unary_unary(path)(raw, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return error
    return None


@pytest.mark.parametrize(("service", "method"), METHODS, ids=[method for _, method in METHODS])
async def test_every_method_asks_for_a_token_and_its_role(
    client: Client, service: ServiceDescriptor, method: str
) -> None:
    for token in (None, "", "wrong", "x" * 600):
        error = await call(client, service, method, token)
        assert error is not None
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert failure_of(error).reason == "TOKEN_INVALID"

    needed = METHOD_ROLES[f"/{service.full_name}/{method}"]
    for role, token in TOKENS.items():
        error = await call(client, service, method, token)
        reason = failure_of(error).reason if error else ""
        included = role is needed or needed is Role.READER or (role is Role.ADMIN and needed is Role.OPERATOR)
        assert (reason == "ROLE_MISSING") is not included, f"{role} calling {method}: {reason}"
        if error and reason == "ROLE_MISSING":
            assert failure_of(error).metadata == {"method": method, "role": needed.value}


@pytest.mark.parametrize(("service", "method"), METHODS, ids=[method for _, method in METHODS])
async def test_g17_a_callers_schools_are_all_that_it_reaches(
    client: Client, service: ServiceDescriptor, method: str
) -> None:
    token = TOKENS[
        {**dict.fromkeys(Role, Role.ADMIN), Role.WRITER: Role.WRITER, Role.APPROVER: Role.APPROVER}[
            METHOD_ROLES[f"/{service.full_name}/{method}"]
        ]
    ]
    fields = service.methods_by_name[method].input_type.fields_by_name
    for school_id in ("elm", "never-registered"):
        error = await call(client, service, method, token, school_id)
        if "school_id" not in fields and "school" not in fields:
            assert method in {"ListSchools", "ListConnectors"}, "every other method is about one school"
            assert error is None
            continue
        assert error is not None
        failure = failure_of(error)
        if failure.reason != "METHOD_NOT_SERVED":
            assert (failure.reason, failure.metadata) == ("SCHOOL_FORBIDDEN", {"school_id": school_id})


async def test_g17_a_list_shows_a_callers_own_schools(client: Client) -> None:
    async def seen(token: str) -> list[str]:
        response = await client.schools.ListSchools(s.ListSchoolsRequest(), metadata=bearer(token))
        return [school.school_id for school in response.schools]

    assert await seen(TOKENS[Role.READER]) == ["oak"]
    assert await seen(EVERY_SCHOOL) == ["elm", "oak"]


@pytest.mark.timeout(30)
async def test_a_stranger_who_never_sends_a_request_is_refused_all_the_same(client: Client) -> None:
    channel: Any = client.channel
    call = channel.stream_unary("/schoolgate.v1.SchoolService/ListSchools")()  # sends the headers alone
    assert (await refused(call)).reason == "TOKEN_INVALID"


async def test_two_authorizations_are_none(client: Client) -> None:
    metadata = (*bearer(EVERY_SCHOOL), *bearer(EVERY_SCHOOL))
    failure = await refused(client.schools.ListSchools(s.ListSchoolsRequest(), metadata=metadata))
    assert failure.reason == "TOKEN_INVALID"


async def test_health_is_open_and_reflection_is_not(client: Client) -> None:
    health = health_stub(client)
    assert (
        await health.Check(health_pb2.HealthCheckRequest())
    ).status == health_pb2.HealthCheckResponse.SERVING

    channel: Any = client.channel  # the stubs know synchronous channels only
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
    # Nothing is sent: where the refusal comes first, the client may report its own failed message instead.
    failure = await refused(stub.ServerReflectionInfo())
    assert failure.reason == "TOKEN_INVALID"
    metadata = bearer(TOKENS[Role.READER])
    answers = [answer async for answer in stub.ServerReflectionInfo(iter(asked), metadata=metadata)]
    names = {service.name for service in answers[0].list_services_response.service}
    assert names >= {service.full_name for service in SERVICES}


async def test_a_changed_file_counts_within_a_moment(
    store: Store, mis: ScriptedMis, callers_file: Path
) -> None:
    callers = CallersFile(callers_file, every_s=0.02)
    following = asyncio.create_task(callers.follow())
    try:
        async with guarded(store, mis, callers) as running:
            schools = running.client.schools

            async def until(reason: str, token: str) -> None:
                async with asyncio.timeout(5):
                    while True:
                        try:
                            await schools.ListSchools(s.ListSchoolsRequest(), metadata=bearer(token))
                            found = ""
                        except grpc.aio.AioRpcError as error:
                            found = failure_of(error).reason
                        if found == reason:
                            return
                        await asyncio.sleep(0.02)

            callers_file.write_text(entry("new", "brand-new", [Role.READER], ["*"]))
            await until("", "brand-new")
            await until("TOKEN_INVALID", EVERY_SCHOOL)
            callers_file.write_text("this is not TOML")
            await asyncio.sleep(0.2)
            await until("", "brand-new")
            callers_file.unlink()
            await asyncio.sleep(0.2)
            await until("", "brand-new")
            callers_file.write_text(entry("newest", "newest-token", [Role.READER], ["*"]))
            await until("", "newest-token")
            await until("TOKEN_INVALID", "brand-new")
    finally:
        following.cancel()
