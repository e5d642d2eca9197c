"""Shows exactly what would be sent: the connector's own way of writing, stopped at the gate."""

from __future__ import annotations

from schoolgate.v1 import error_reason_pb2 as reasons
from schoolgate.v1 import writeback_service_pb2 as pb
from schoolgate.v1.school_service_pb2 import School
from schoolgate_sdk import ConnectorError, Departure, Unsupported, WriteRows, WriteStopped
from schoolgate_server.mis.blame import ConnectorDefect, ask, connector_at_work
from schoolgate_server.model.errors import ServiceError
from schoolgate_server.model.writes import WriteEntry
from schoolgate_server.writeback.reach import Mis, NotOpened, Surroundings
from schoolgate_server.writeback.school import ValuesOf, request_of


async def preview(
    around: Surroundings, values_of: ValuesOf, school: School, entry: WriteEntry
) -> pb.WritePayload:
    """Return what would leave for ``entry``. Nothing does: the gate lets nothing through, now or later.

    Raises:
        ServiceError: WRITE_UNSUPPORTED, also where the operation does not announce what leaves; INTERNAL
            where the MIS cannot be asked for what is to be sent, with what went wrong; as ``values_of``, and
            as opening a session does.
    """
    try:
        async with around.opened(school) as mis:
            return await _shown(around, values_of, entry, mis)
    except NotOpened as error:
        raise _failed(error.failure.message) from error


async def _shown(around: Surroundings, values_of: ValuesOf, entry: WriteEntry, mis: Mis) -> pb.WritePayload:
    session, name = mis.session, entry.write.operation_name
    operation = mis.operation(name)
    if operation is None or not operation.announces or not isinstance(session, WriteRows):
        raise _unsupported(mis, name, "it does not show beforehand what it sends")
    seen: list[Departure] = []

    def nothing_leaves(departure: Departure) -> None:
        seen.append(departure)
        raise WriteStopped("only what would be sent is wanted")

    request = request_of(entry, await values_of(mis.connector, entry), nothing_leaves)
    try:
        with connector_at_work():
            answer = session.write(request)
        await ask(answer, around.options.find_limit, "showing what would be sent")
    except WriteStopped:
        pass
    except Unsupported as error:
        raise _unsupported(mis, name, mis.failure(error).message) from error
    except (ConnectorError, ConnectorDefect) as error:
        raise _failed(mis.failure(error).message) from error
    if not seen:
        raise _failed("the connector did not say what it sends")
    target, body = seen[0]
    return pb.WritePayload(target=target, body=body)


def _unsupported(mis: Mis, operation: str, why: str) -> ServiceError:
    return ServiceError(
        reasons.ERROR_REASON_WRITE_UNSUPPORTED,
        f"connector {mis.connector.name!r}: {why}",
        metadata={"operation": operation, "connector": mis.connector.name},
    )


def _failed(why: str) -> ServiceError:
    return ServiceError(reasons.ERROR_REASON_INTERNAL, f"what would be sent cannot be shown: {why}")
