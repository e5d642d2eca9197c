"""A read of several entities of which one is withdrawn names that one, and not the one it asked for."""

from __future__ import annotations

from schoolgate_sdk import EntityDenied
from schoolgate_sdk.testing.conformance import kit
from schoolgate_sdk.testing.conformance.outcome import Outcome
from tests.conformance.toy_connector import ToySession
from tests.conformance.wrong import with_session


class DeniesTheFirst(ToySession):
    """Takes whatever is withdrawn for the entity that was asked for."""

    def denied(self, entity: str, missing: str) -> EntityDenied:
        return super().denied(entity, entity)


def test_an_error_that_names_another_entity_fails_the_check() -> None:
    [bench] = kit.benches(with_session(DeniesTheFirst))
    result = kit.run_check(bench, kit.check_named("grants.revoked"))
    assert result.outcome is Outcome.FAILED
    assert result.detail == "contact is withdrawn, and EntityDenied names 'student_contact'"
    assert "name the entity" in result.next_step
