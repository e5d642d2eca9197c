"""What the simulated MIS has: plain rows, and seeded edits of them, wrong and right ones."""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias

from tests.support.scripted import GROUPS, MARKS, MEMBERSHIPS, STUDENTS

DATASETS = (STUDENTS, GROUPS, MEMBERSHIPS, MARKS)
Row: TypeAlias = dict[str, Any]

_NAMES = ("Adeyemi", "Ó Briain", "Łuczak", "Smith", " Padded ", "Nguyễn", "d’Arcy", "Zoë-Marie")
_DAYS = ("2026-10-01", "2026-10-02", "2026-10-05", "2026-10-06", "2027-11-01")
_CODES = ("/", "\\", "L", "I", "O", "?!")
_TEXTS = ("a", "ab", "bc", "c", 'a","b', 'b","c')


def key_parts(dataset: str, row: Row) -> tuple[Any, ...]:
    fields = {MEMBERSHIPS: ("group", "person", "from"), MARKS: ("student", "date")}.get(dataset, ("id",))
    return tuple(row.get(name) for name in fields)


class World:
    """The rows of one school's MIS."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._next = 1
        self._gone: list[tuple[str, Row]] = []
        self.rows: dict[str, list[Row]] = {dataset: [] for dataset in DATASETS}
        for number in range(1, rng.randint(2, 4)):
            self.rows[GROUPS].append({"id": number, "name": f"7{number}"})
        for _ in range(rng.randint(3, 10)):
            self.join()
        self._edits: dict[Callable[[], str], int] = {
            self.join: 4,
            self.leave: 3,
            self.vanish: 3,
            self.rename: 4,
            self.correct_mark: 3,
            self.merge: 3,
            self.recreate: 8,
            self.rekey: 3,
            self.move_membership: 2,
            self.duplicate: 2,
            self.conflict: 2,
            self.deduplicate: 3,
            self.break_row: 2,
            self.mend: 4,
            self.pad: 1,
            self.unidentified: 1,
            self.share_person: 1,
            self.run_parts_together: 1,
            self.shuffle: 2,
            self.exodus: 1,
        }

    def edit(self) -> str:
        """Make one edit; return what it was."""
        [edit] = self._rng.choices(list(self._edits), list(self._edits.values()))
        return edit()

    def take_register(self) -> str:
        """Make an edit of marks: a new one, another one, or one that is taken back."""
        row, pupil = self._any(MARKS), self._pupil()
        match self._rng.randint(0, 2):
            case 0 if pupil is not None:
                day, code = self._rng.choice(_DAYS), self._rng.choice(_CODES)
                self._insert(MARKS, {"student": pupil["id"], "date": day, "code": code})
                return f"mark {pupil['id']!r} on {day} as {code}"
            case 1 if row is not None:
                self._remove(MARKS, lambda other: other is row)
                return f"take back {row}"
            case _:
                return self.correct_mark()

    def some_rows(self, rng: random.Random) -> dict[str, list[tuple[Any, ...]]]:
        """Return the keys of some rows by dataset, as a notification may name them; of gone ones too."""
        there = [(dataset, row) for dataset, rows in self.rows.items() for row in rows]
        named: dict[str, list[tuple[Any, ...]]] = {}
        for dataset, row in rng.sample([*there, *self._gone], min(rng.randint(1, 4), len(there))):
            parts = key_parts(dataset, row)
            if all(type(part) in {int, str} and part != "" for part in parts):
                named.setdefault(dataset, []).append(parts)
        return named

    def join(self) -> str:
        number: int | str = self._next
        self._next += 1
        if self._rng.random() < 0.15:
            number = str(self._rng.randint(1, self._next))  # the digits of another pupil's number
        person = 1000 + self._next
        row: Row = {"id": number, "surname": self._rng.choice(_NAMES), "person": person}
        for field, value in (("forename", "Ola"), ("ethnicity_code", "WBRI")):
            if self._rng.random() < 0.6:
                row[field] = value
        self._insert(STUDENTS, row)
        group = self._rng.choice(self.rows[GROUPS])["id"] if self.rows[GROUPS] else 1
        ends = "2027-07-20" if self._rng.random() < 0.2 else ""
        self._insert(MEMBERSHIPS, {"group": group, "person": person, "from": "2026-09-01", "to": ends})
        for day in self._rng.sample(_DAYS, self._rng.randint(0, 2)):
            self._insert(MARKS, {"student": number, "date": day, "code": self._rng.choice(_CODES)})
        return f"join {number!r}"

    def leave(self) -> str:
        row = self._pupil()
        if row is None:
            return "nobody to leave"
        self._remove(STUDENTS, lambda other: other is row)
        self._remove(MEMBERSHIPS, lambda other: other["person"] == row.get("person", 0))
        self._remove(MARKS, lambda other: _same(other["student"], row["id"]))
        return f"leave {row['id']!r}"

    def vanish(self) -> str:
        dataset = self._rng.choice(DATASETS)
        row = self._any(dataset)
        if row is not None:
            self._remove(dataset, lambda other: other is row)
        return f"vanish {dataset} {row}"

    def rename(self) -> str:
        row = self._pupil()
        if row is not None:
            row["surname"] = self._rng.choice(_NAMES) + str(self._rng.randint(1, 9))
        return f"rename {row}"

    def correct_mark(self) -> str:
        row = self._any(MARKS)
        if row is not None:
            row["code"] = self._rng.choice(_CODES)
        return f"correct {row}"

    def merge(self) -> str:
        loser, survivor = self._pupil(), self._pupil()
        if loser is None or survivor is None or loser is survivor:
            return "nobody to merge"
        self._remove(STUDENTS, lambda other: other is loser)
        if "person" in loser and self._rng.random() < 0.7:
            survivor["person"] = loser["person"]  # the memberships stay as they are
            return f"merge {loser['id']!r} into {survivor['id']!r}, whose person number goes"
        for row in self.rows[MEMBERSHIPS]:
            if row["person"] == loser.get("person", 0):
                row["person"] = survivor.get("person", 1)
        return f"merge {loser['id']!r} into {survivor['id']!r}"

    def recreate(self) -> str:
        if not self._gone:
            return "nothing to create again"
        last = self._rng.random() < 0.7
        dataset, row = self._gone.pop(-1 if last else self._rng.randrange(len(self._gone)))
        self._insert(dataset, row)
        return f"again {dataset} {row}"

    def rekey(self) -> str:
        row = self._pupil()
        if row is None:
            return "nobody to give another number"
        before, row["id"] = row["id"], self._next
        self._next += 1
        return f"number {before!r} becomes {row['id']}"

    def move_membership(self) -> str:
        row = self._any(MEMBERSHIPS)
        if row is not None:
            row["group"] = self._rng.randint(1, 4)
        return f"move {row}"

    def duplicate(self) -> str:
        dataset = self._rng.choice(DATASETS)
        row = self._any(dataset)
        if row is not None:
            self._insert(dataset, dict(row))
        return f"duplicate {dataset} {row}"

    def conflict(self) -> str:
        dataset, field = self._rng.choice(
            [
                (STUDENTS, "surname"),
                (STUDENTS, "person"),
                (GROUPS, "name"),
                (MEMBERSHIPS, "to"),
                (MARKS, "code"),
            ]
        )
        row = self._any(dataset)
        if row is None:
            return "nothing to contradict"
        values = {"person": 5000 + self._rng.randint(1, 9), "to": "2027-01-01", "code": "N"}
        self._insert(dataset, {**row, field: values.get(field, f"Other {self._rng.randint(1, 9)}")})
        return f"conflict in {field} of {dataset} {row}"

    def deduplicate(self) -> str:
        for dataset in DATASETS:
            rows = self.rows[dataset]
            counts = Counter(repr(key_parts(dataset, row)) for row in rows)
            several = [row for row in rows if counts[repr(key_parts(dataset, row))] > 1]
            if several:
                chosen = self._rng.choice(several)
                self.rows[dataset] = [row for row in rows if row is not chosen]
        return "deduplicate"

    def break_row(self) -> str:
        dataset = self._rng.choice(DATASETS)
        row = self._any(dataset)
        if row is not None:
            row["broken"] = True
        return f"break {dataset} {row}"

    def mend(self) -> str:
        """Mend everything that keeps a snapshot from being sealed, or breaks a row."""
        self.rows[STUDENTS] = [row for row in self.rows[STUDENTS] if _identified(row)]
        for rows in self.rows.values():
            for row in rows:
                row.pop("broken", None)
        return "mend"

    def pad(self) -> str:
        row = self._pupil()
        if row is not None:
            self._insert(STUDENTS, {**row, "id": f" {row['id']} ", "person": 7000 + self._next})
        return f"pad {row}"

    def unidentified(self) -> str:
        number = self._rng.randint(1, 9)
        row: Row = self._rng.choice(
            [
                {"id": None, "surname": f"Nobody {number}"},
                {"id": number},
                {"id": number, "surname": number},
                {"id": "", "surname": "Empty"},
            ]
        )
        self._insert(STUDENTS, row)
        return f"unidentified {row}"

    def share_person(self) -> str:
        one, other = self._pupil(), self._pupil()
        if one is not None and other is not None:
            one["person"] = other.get("person", 1001)
        return f"share a person number {one} {other}"

    def run_parts_together(self) -> str:
        row: Row = {
            "group": self._rng.choice(_TEXTS),
            "person": self._rng.choice(_TEXTS),
            "from": "2026-09-01",
        }
        self._insert(MEMBERSHIPS, {**row, "to": ""})
        return f"text parts {row}"

    def shuffle(self) -> str:
        for rows in self.rows.values():
            self._rng.shuffle(rows)
        return "shuffle"

    def exodus(self) -> str:
        dataset = self._rng.choice(DATASETS)
        share = self._rng.choice((0.3, 0.6, 1.0))
        leaving = [row for row in self.rows[dataset] if self._rng.random() < share]
        self._remove(dataset, lambda row: any(row is each for each in leaving))
        return f"exodus of {len(leaving)} {dataset}"

    def _insert(self, dataset: str, row: Row) -> None:
        rows = self.rows[dataset]
        rows.insert(self._rng.randint(0, len(rows)), row)

    def _remove(self, dataset: str, which: Callable[[Row], bool]) -> None:
        rows = self.rows[dataset]
        self._gone += [(dataset, copy.deepcopy(row)) for row in rows if which(row)]
        self.rows[dataset] = [row for row in rows if not which(row)]

    def _any(self, dataset: str) -> Row | None:
        return self._rng.choice(self.rows[dataset]) if self.rows[dataset] else None

    def _pupil(self) -> Row | None:
        pupils = [row for row in self.rows[STUDENTS] if _identified(row)]
        return self._rng.choice(pupils) if pupils else None


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _identified(row: Row) -> bool:
    return row.get("id") not in {None, ""} and isinstance(row.get("surname"), str)
