"""Which rows a simulated notification names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.simulation.base import Documents, encoded
from tests.simulation.world import World
from tests.support.scripted import STUDENTS


def told_apart(
    named: dict[str, list[tuple[Any, ...]]], world: World, documents: Documents
) -> dict[str, list[tuple[Any, ...]]]:
    """Leave out pupils of whom only a whole snapshot can tell which record they are: those are read in full.

    They are under a key that was tied to a record, or under a new key with a person's number of a record or
    of another one that is named: of several runs, the first makes a record of that one.
    """
    taken = {document["key"]: document["record"] for document in documents["identities"].values()}
    own = {
        document["keys"][0]
        for record_id, document in documents["records"].items()
        if taken.get(document["keys"][0], record_id)
        == record_id  # or it was merged, and its key is another's
    }

    def persons_of(parts: Sequence[Any]) -> set[str]:
        rows = [row for row in world.rows[STUDENTS] if row.get("id") in parts]
        return {encoded("scripted/person", [row["person"]]) for row in rows if "person" in row}

    pupils = named.get(STUDENTS, [])
    brought = Counter(person for parts in set(pupils) for person in persons_of(parts))

    def is_plain(parts: Sequence[Any]) -> bool:
        persons = persons_of(parts)
        alone = not persons & taken.keys() and all(brought[person] == 1 for person in persons)
        return alone or encoded("scripted/students", parts) in own

    plain = {**named, STUDENTS: [parts for parts in pupils if is_plain(parts)]}
    return {dataset: keys for dataset, keys in plain.items() if keys}
