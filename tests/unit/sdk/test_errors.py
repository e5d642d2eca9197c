"""The type of a connector's error says what the engine does next."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from schoolgate.v1 import failure_pb2
from schoolgate_sdk import errors

TYPES: list[type[errors.ConnectorError]] = [
    error for error in vars(errors).values() if isinstance(error, type) and "failure_type" in vars(error)
]
"""Those with a type of their own; further ones say more about the same."""
ENGINES_OWN = {
    failure_pb2.FAILURE_TYPE_UNSPECIFIED,
    failure_pb2.FAILURE_TYPE_HELD,  # the engine's judgement of a change, not a connector's
    failure_pb2.FAILURE_TYPE_INTERNAL,  # what a connector did not raise on purpose
}


def test_every_failure_of_a_connector_has_one_error() -> None:
    raised = [error.failure_type for error in TYPES]
    assert len(raised) == len(set(raised))
    assert set(raised) == set(failure_pb2.FailureType.values()) - ENGINES_OWN


@pytest.mark.parametrize("error", TYPES, ids=lambda error: error.__name__)
def test_an_error_says_what_it_means_and_where(error: type[errors.ConnectorError]) -> None:
    assert error.__doc__
    raised = error("The MIS did not answer.", entity="Staff")
    assert (str(raised), raised.message, raised.entity) == ("The MIS did not answer.",) * 2 + ("Staff",)


def test_a_denial_names_its_entity_and_a_pause_its_end() -> None:
    with pytest.raises(TypeError):
        errors.EntityDenied("not granted")  # type: ignore[call-arg]  # that is what is tested
    until = datetime(2026, 9, 1, tzinfo=UTC)
    assert errors.RateLimited("later", until=until).until == until
    assert errors.RateLimited("later").until is None
