from __future__ import annotations

from pathlib import Path

import pytest

from schoolgate_server.model.errors import ServiceError
from schoolgate_server.rpc.callers import CallersFile, CallersInvalid, hash_token, parse_callers
from schoolgate_server.rpc.roles import Role

HASH = hash_token("a-token")


def stanza(**changes: str) -> str:
    fields = {
        "name": '"app"',
        "token_sha256": f'"{HASH}"',
        "roles": '["READER"]',
        "schools": '["oak"]',
        **changes,
    }
    return "[[callers]]\n" + "\n".join(f"{name} = {value}" for name, value in fields.items()) + "\n"


def test_a_caller_has_its_roles_and_schools() -> None:
    caller = parse_callers(stanza(roles='["OPERATOR"]'))[HASH]
    assert (caller.name, caller.roles) == ("app", frozenset({Role.OPERATOR, Role.READER}))
    assert caller.may_act_for("oak")
    assert not caller.may_act_for("elm")
    assert not caller.may_act_for("*")


def test_a_star_is_every_school() -> None:
    assert parse_callers(stanza(schools='["*"]'))[HASH].may_act_for("elm")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("callers = 3", "callers"),
        ("", "callers"),
        ("[[callers", "not TOML"),
        (stanza(name='""'), "callers.0.name"),
        (stanza(token_sha256='"abc"'), "callers.0.token_sha256"),
        (stanza(roles='["KING"]'), "callers.0.roles"),
        (stanza(roles="[]"), "callers.0.roles"),
        (stanza(schools="[]"), "callers.0.schools"),
        (stanza(schools='["Oak"]'), "not a school id: Oak"),
        (stanza(colour='"red"'), "callers.0.colour"),
        (stanza() + stanza(), "twice"),
        (stanza() + stanza(name='"other"'), "token of another"),
    ],
)
def test_an_unusable_file_says_what_is_wrong_and_no_hash(text: str, said: str) -> None:
    with pytest.raises(CallersInvalid) as refusal:
        parse_callers(text)
    assert said in str(refusal.value)
    assert HASH not in str(refusal.value)


@pytest.mark.parametrize(
    ("authorization", "known"),
    [
        ("Bearer a-token", True),
        ("bearer a-token", True),
        ("Bearer  a-token", True),
        ("Bearer b-token", False),
        ("Bearer a-token ", False),
        ("Bearer", False),
        ("a-token", False),
        (f"Bearer {HASH}", False),
        ("Basic a-token", False),
        ("", False),
        (None, False),
    ],
)
def test_a_caller_is_known_by_its_token_alone(tmp_path: Path, authorization: str | None, known: bool) -> None:
    path = tmp_path / "callers.toml"
    path.write_text(stanza())
    callers = CallersFile(path)
    if known:
        assert callers.identify(authorization).name == "app"
    else:
        with pytest.raises(ServiceError):
            callers.identify(authorization)


def test_a_server_does_not_start_on_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CallersInvalid, match="FileNotFoundError"):
        CallersFile(tmp_path / "none.toml")
