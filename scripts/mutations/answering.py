"""What was believed at a moment of a day: the ends of instants and of spans."""

from __future__ import annotations

from scripts.mutations.base import SIMULATION, Mutant

READING = "server/src/schoolgate_server/store/reading.py"
PLACES = "server/src/schoolgate_server/store/places.py"
INSTANTS = "server/src/schoolgate_server/store/instants.py"

MUTANTS = (
    Mutant(
        "g12",
        "later pages of an order by day ask for days",
        PLACES,
        'else {"$not": {"$gt": day}}',
        'else {"$lte": day}',
        "tests/contract/store/test_ordering.py",
        "without_a_day",
    ),
    Mutant(
        "g12",
        "those without a day are not looked for among what was superseded",
        PLACES,
        'ranges.append({"from": {"$not": {"$gte": high["from"]}}})',
        'ranges.append({"from": {"$lt": high["from"]}})',
        "tests/contract/store/test_ordering.py",
        "ever_grows",
    ),
    Mutant(
        "g12",
        "a page in descending order is cut short as one in ascending order",
        PLACES,
        "low, high = (after, last) if ascending else (last, after)",
        "low, high = after, last",
        "tests/contract/store/test_ordering.py",
        "ever_grows",
    ),
    Mutant(
        "g12",
        "what was committed at known_at, a seq, is not known then",
        READING,
        'self._current: Query = {**matching, "seq": {"$lte": seq}}',
        'self._current: Query = {**matching, "seq": {"$lt": seq}}',
        SIMULATION,
        "histories",
    ),
    Mutant(
        "g12",
        "what was committed at known_at, a time, is not known then",
        INSTANTS,
        '"at": {"$lte": time}}',
        '"at": {"$lt": time}}',
        SIMULATION,
        "histories",
    ),
    Mutant(
        "g12",
        "the latest commit is not known at its own time",
        INSTANTS,
        'time < head["published_at"]',
        'time <= head["published_at"]',
        SIMULATION,
        "histories",
    ),
    Mutant(
        "g12",
        "a span ends after its last day",
        READING,
        '{"to": {"$gt": day}}',
        '{"to": {"$gte": day}}',
        SIMULATION,
        "histories",
    ),
    Mutant(
        "g12",
        "a span begins after its first day",
        READING,
        '{"from": {"$lte": day}}',
        '{"from": {"$lt": day}}',
        SIMULATION,
        "histories",
    ),
)
