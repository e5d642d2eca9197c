"""Rows that came in passing: what they say of who is who stays known, whatever becomes of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from tests.simulation.base import Documents, RunFacts, encoded_person
from tests.simulation.meaning import Key, meaning_of
from tests.simulation.people import People


def with_passing(
    people: People,
    facts: RunFacts,
    after: Documents,
    ids: Mapping[Key, str],
    identify: Callable[[Key, str], None],
) -> People:
    """Return ``people`` with the person numbers that rows brought which came in passing.

    A number may have been learnt from them, and then only as what its row says; ``identify`` takes note of
    its record, which may have none of its versions yet.
    """
    owners = {document["key"]: str(document["record"]) for document in after["identities"].values()}
    known = {record_id: record for record, record_id in ids.items()}
    found = people.copy()
    for part in facts.datasets:
        for row in part.passing:
            meaning = meaning_of(part.dataset, row, facts.reading)
            if part.dataset != "students" or not meaning.is_record or meaning.key is None:
                continue
            person, record = json.dumps(meaning.person), found.record_of(meaning.key)
            owner = owners.get(encoded_person(person))
            if meaning.person is None or owner is None or person in found.persons:
                continue
            if ids.get(record, owner) == owner and known.get(owner, record) == record:
                identify(record, owner)
                found.persons[person] = record
    return found
