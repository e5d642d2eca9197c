"""A circuit opens after failures in a row, lets one request try, and closes with the first answer."""

from __future__ import annotations

import random

from schoolgate_sdk.circuit import Circuit


class NoJitter(random.Random):
    def uniform(self, a: float, b: float) -> float:
        del b
        return a


def _circuit(failures: int = 3, parties: int = 1) -> Circuit:
    return Circuit(failures, 30.0, 100.0, NoJitter(), parties)


def _fail(circuit: Circuit, now: float, *parties: str) -> None:
    for party in parties:
        circuit.failed(now, party, trying=circuit.enter(now))


def test_it_opens_after_failures_in_a_row_only() -> None:
    circuit = _circuit()
    _fail(circuit, 0.0, "a", "a")
    circuit.succeeded()
    _fail(circuit, 0.0, "a", "a")
    assert circuit.closed_for(0.0) == 0.0
    _fail(circuit, 5.0, "a")
    assert circuit.closed_for(5.0) == 30.0
    assert circuit.closed_for(34.0) == 1.0


def test_half_open_one_request_tries_and_its_answer_closes() -> None:
    circuit = _circuit()
    _fail(circuit, 0.0, "a", "a", "a")
    assert circuit.closed_for(30.0) == 0.0
    assert circuit.enter(30.0)
    assert circuit.closed_for(30.0) > 0
    circuit.succeeded()
    assert circuit.closed_for(30.0) == 0.0
    assert not circuit.enter(30.0)


def test_an_answer_that_begins_closes_it_and_opens_it_for_longer_should_it_break_off() -> None:
    """Seen to fail where the beginning counted as a whole answer: it took three more failures to open."""
    circuit = _circuit()
    _fail(circuit, 0.0, "a", "a", "a")
    assert circuit.enter(30.0)
    circuit.begun()
    assert circuit.closed_for(30.0) == 0.0
    assert not circuit.enter(30.0)
    circuit.failed(35.0, "b")
    assert circuit.closed_for(35.0) == 0.0  # another's failure is one of three
    circuit.failed(40.0, "a", tried=True)
    assert circuit.closed_for(40.0) == 60.0
    assert circuit.enter(100.0)
    circuit.begun()
    circuit.succeeded()
    _fail(circuit, 110.0, "a", "a", "a")
    assert circuit.closed_for(110.0) == 30.0


def test_a_trial_that_fails_opens_it_for_twice_as_long_up_to_a_bound() -> None:
    circuit = _circuit()
    _fail(circuit, 0.0, "a", "a", "a")
    now, waits = 30.0, list[float]()
    for _ in range(3):
        _fail(circuit, now, "a")
        waits.append(circuit.closed_for(now))
        now += waits[-1]
    assert waits == [60.0, 100.0, 100.0]


def test_a_trial_that_tells_nothing_leaves_the_next_one_to_another() -> None:
    circuit = _circuit()
    _fail(circuit, 0.0, "a", "a", "a")
    assert circuit.enter(30.0)
    circuit.abandoned()
    assert circuit.closed_for(30.0) == 0.0
    assert circuit.enter(30.0)


def test_what_was_on_its_way_when_it_opened_does_not_keep_it_open_longer() -> None:
    circuit = _circuit()
    _fail(circuit, 0.0, "a", "a", "a")
    circuit.failed(20.0, "a")
    assert circuit.closed_for(20.0) == 10.0


def test_g17_one_party_alone_cannot_open_what_several_share() -> None:
    circuit = _circuit(parties=2)
    _fail(circuit, 0.0, *["a"] * 50)
    assert circuit.closed_for(0.0) == 0.0
    _fail(circuit, 0.0, "b")
    assert circuit.closed_for(0.0) == 30.0


def test_a_request_from_before_it_opened_decides_nothing_while_another_tries() -> None:
    """Seen to fail where any failure counted as the trial's: a second one tried beside the first."""
    circuit = _circuit()
    _fail(circuit, 0.0, "a", "a", "a")
    assert circuit.enter(30.0)
    circuit.failed(50.0, "b")  # it hung since before the circuit opened
    assert circuit.closed_for(200.0) > 0
    circuit.failed(60.0, "a", trying=True)
    assert circuit.closed_for(60.0) == 60.0
