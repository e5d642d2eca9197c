from __future__ import annotations

import re
from pathlib import Path

import pytest

from schoolgate_server.rpc.roles import METHOD_ROLES, Role, expand

PROTOS = Path(__file__).parents[4] / "proto" / "schoolgate" / "v1"


def roles_in_protos() -> dict[str, str]:
    """Role that the comment of each method names, by the method's path."""
    found: dict[str, str] = {}
    for path in PROTOS.glob("*_service.proto"):
        service, comment = "", ""
        for line in path.read_text().splitlines():
            text = line.strip()
            if match := re.match(r"service (\w+) \{", text):
                service = match[1]
            elif text.startswith("//"):
                comment += f" {text}"
            elif match := re.match(r"rpc (\w+)\(", text):
                role = re.search(r"Role: (\w+)\.", comment)
                assert role, f"{match[1]}: the comment names no role"
                found[f"/schoolgate.v1.{service}/{match[1]}"] = role[1]
                comment = ""
            else:
                comment = ""
    return found


def test_the_table_says_what_the_protos_say() -> None:
    found = roles_in_protos()
    assert len(found) > 30
    assert {path: role.value for path, role in METHOD_ROLES.items()} == found


@pytest.mark.parametrize(
    ("role", "included"),
    [
        (Role.READER, {Role.READER}),
        (Role.OPERATOR, {Role.OPERATOR, Role.READER}),
        (Role.ADMIN, {Role.ADMIN, Role.OPERATOR, Role.READER}),
        (Role.WRITER, {Role.WRITER, Role.READER}),
        (Role.APPROVER, {Role.APPROVER, Role.READER}),
    ],
)
def test_what_a_role_includes(role: Role, included: set[Role]) -> None:
    assert expand(frozenset({role})) == included
