"""Which rows a simulated notification names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.simulation.base import Documents, encoded
from tests.simulation.world import World
from tests.support.scripted import STUDENTS


def told_apart(
    named: dict[str, list[tuple[Any, ...]]], world: World, documents: Documents
) -> dict[str, list[tuple[Any, ...]]]:
    """Leave out pupils of whom only a whole snapshot can tell which record they are: those are read in full.

    They are under a key that was tied to a record, or under a new key with a person's number of a record.
    """
    own = {document["keys"][0] for document in documents["records"].values()}
    taken = {document["key"] for document in documents["identities"].values()}

    def is_plain(parts: Sequence[Any]) -> bool:
        rows = [row for row in world.rows[STUDENTS] if row.get("id") in parts]
        persons = [encoded("scripted/person", [row["person"]]) for row in rows if "person" in row]
        return encoded("scripted/students", parts) in own or not taken.intersection(persons)

    plain = {**named, STUDENTS: [parts for parts in named.get(STUDENTS, ()) if is_plain(parts)]}
    return {dataset: keys for dataset, keys in plain.items() if keys}
