"""Aliases that are looked up stand for the same records as aliases that are held."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from schoolgate.v1 import kind_pb2 as kinds
from schoolgate_sdk import Dataset, KindSpec, encode_key, source_key
from schoolgate_server.ingest import identity
from schoolgate_server.ingest.identity import Identities, Key, NotLookedUp
from schoolgate_server.model.aliases import Alias
from schoolgate_server.model.ids import Minter

STUDENT = kinds.KIND_STUDENT
PUPILS = Dataset("students", (KindSpec(STUDENT, "mis/pupil"),), ("Students",), lambda row, settings: (), 1)
MINTER = Minter("oak")


def key(number: int, namespace: str = "mis/pupil") -> str:
    return encode_key(source_key(namespace, number))


ONE, TWO, THREE = (MINTER.mint(STUDENT, key(number)) for number in (1, 2, 3))
ALIASES = [
    Alias(STUDENT, key(1), ONE, link=True),
    Alias(STUDENT, key(2), ONE, link=True),
    Alias(STUDENT, key(3, "mis/person"), THREE),
    Alias(STUDENT, key(9), TWO, link=True),
]


class Stored:
    """Aliases as the store has them; counts what is asked for."""

    def __init__(self) -> None:
        self.asked = 0

    async def of_keys(self, school_id: str, keys: Sequence[Key]) -> Sequence[Alias]:
        self.asked += len(keys)
        return [alias for alias in ALIASES if (alias.kind, alias.key) in keys]

    async def links_of(self, school_id: str, record_ids: Sequence[str]) -> Sequence[Alias]:
        return [alias for alias in ALIASES if alias.link and alias.record_id in record_ids]


def held() -> Identities:
    return Identities(MINTER, [PUPILS], ALIASES)


def looked_up(stored: Stored | None = None) -> Identities:
    return Identities(MINTER, [PUPILS], (), (stored or Stored(), "oak"))


@pytest.mark.parametrize("make", [held, looked_up])
async def test_keys_stand_for_the_same_records_either_way(make: Callable[[], Identities]) -> None:
    identities = make()
    await identities.look_up(
        [(STUDENT, key(number)) for number in (1, 2, 3, 9)],
        [(STUDENT, key(number, "mis/person")) for number in (3, 4)],
    )
    assert [identities.own(STUDENT, key(number)) for number in (1, 2, 3, 9)] == [ONE, ONE, THREE, TWO]
    assert [identities.is_own(STUDENT, key(n), ONE) for n in (1, 2)] == [True, False]
    assert identities.keys(ONE, (key(1),)) == identities.keys(ONE, (key(2),)) == (key(1), key(2))
    assert identities.keys(THREE, (key(3),)) == (key(3),)
    # Its own row brings no linked key, and another number stands for it all the same.
    assert identities.keys(TWO, (key(2),)) == (key(2), key(9))
    assert identities.resolve(STUDENT, source_key("mis/pupil", 2)) == ONE
    assert identities.resolve(STUDENT, source_key("mis/person", 3)) == THREE
    assert identities.resolve(STUDENT, source_key("mis/person", 4)) is None
    assert identities.learn(STUDENT, key(3, "mis/person"), ONE) == THREE
    assert identities.learn(STUDENT, key(4, "mis/person"), ONE) == ONE
    assert identities.resolve(STUDENT, source_key("mis/person", 4)) == ONE
    identities.link(STUDENT, [key(3)], ONE)
    assert identities.own(STUDENT, key(3)) == ONE
    assert identities.keys(ONE, (key(1),)) == (key(1), key(2), key(3))


async def test_what_was_looked_up_is_forgotten_and_what_was_learnt_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(identity, "MOST_REMEMBERED", 3)
    stored = Stored()
    identities = looked_up(stored)
    await identities.look_up([(STUDENT, key(1)), (STUDENT, key(2))])
    identities.link(STUDENT, [key(7)], ONE)
    await identities.look_up([(STUDENT, key(1))])
    assert stored.asked == 2, "remembered still"
    await identities.look_up([(STUDENT, key(3))])
    await identities.look_up([(STUDENT, key(9))])
    with pytest.raises(NotLookedUp):
        identities.own(STUDENT, key(1))
    assert identities.own(STUDENT, key(7)) == ONE


async def test_what_was_not_looked_up_is_no_guess() -> None:
    identities = looked_up()
    for ask in (
        lambda: identities.own(STUDENT, key(1)),
        lambda: identities.is_own(STUDENT, key(1), ONE),
        lambda: identities.resolve(STUDENT, source_key("mis/pupil", 1)),
        lambda: identities.learn(STUDENT, key(1, "mis/person"), ONE),
        lambda: identities.keys(ONE, (key(1),)),
    ):
        with pytest.raises(NotLookedUp):
            ask()
