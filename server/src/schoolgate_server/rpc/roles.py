"""Who may call what: the one table of methods and roles."""

from __future__ import annotations

import enum
from types import MappingProxyType


class Role(enum.StrEnum):
    """What a caller may do. The proto comment of every method names the one that it needs."""

    READER = "READER"
    OPERATOR = "OPERATOR"
    ADMIN = "ADMIN"
    WRITER = "WRITER"
    APPROVER = "APPROVER"


_INCLUDES: MappingProxyType[Role, frozenset[Role]] = MappingProxyType(
    {
        Role.READER: frozenset({Role.READER}),
        Role.OPERATOR: frozenset({Role.OPERATOR, Role.READER}),
        Role.ADMIN: frozenset({Role.ADMIN, Role.OPERATOR, Role.READER}),
        # Writing to a school's MIS and approving it are given by name: no administrator has them by rank.
        Role.WRITER: frozenset({Role.WRITER, Role.READER}),
        Role.APPROVER: frozenset({Role.APPROVER, Role.READER}),
    }
)

_BY_SERVICE: dict[str, dict[Role, str]] = {
    "SchoolService": {
        Role.READER: "GetSchool ListSchools",
        Role.OPERATOR: "CheckConnection",
        Role.ADMIN: "CreateSchool UpdateSchool SetCredentials",
    },
    "SyncService": {
        Role.READER: "GetRun ListRuns WatchRun",
        Role.OPERATOR: "StartSync CancelRun NotifyChange ListHolds ResolveHold",
    },
    "QueryService": {
        Role.READER: "GetRecord QueryRecords CountRecords ListVersions WatchChanges",
    },
    "ReportingService": {
        Role.READER: "GetTimetable ListTeachers GetAttendance GetRoll",
    },
    "WritebackService": {
        Role.READER: "GetWrite ListWrites WatchWrites GetWritePolicy",
        Role.WRITER: "SubmitWrite CancelWrite ReverseWrite",
        Role.APPROVER: "ApproveWrite",
        Role.OPERATOR: "ResolveWrite",
        Role.ADMIN: "SetWritePolicy",
    },
    "DiagnosticsService": {
        Role.READER: "ListConnectors",
        Role.OPERATOR: "Explain GetDataQuality ListDecisions CompareParsers",
    },
    "IdentityService": {
        Role.OPERATOR: ("MergeRecords ListIdentityProposals ResolveIdentityProposal GetMisChangePlan"),
        Role.ADMIN: "PlanMisChange ApplyMisChange",
    },
}

METHOD_ROLES: MappingProxyType[str, Role] = MappingProxyType(
    {
        f"/schoolgate.v1.{service}/{method}": role
        for service, methods in _BY_SERVICE.items()
        for role, names in methods.items()
        for method in names.split()
    }
)
"""The role that each method of ``schoolgate.v1`` needs, by its path."""

HEALTH = "/grpc.health.v1.Health/"
"""Open to everybody, tokens or not: load balancers have none, and it tells only whether we serve."""

REFLECTION = "/grpc.reflection."
"""Open to every caller with a token: it shows the API, and no data."""


def expand(roles: frozenset[Role]) -> frozenset[Role]:
    """Return ``roles`` and all that they include."""
    return frozenset[Role]().union(*(_INCLUDES[role] for role in roles))
