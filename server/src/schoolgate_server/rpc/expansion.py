"""Related records in the same answer: from a class over its memberships to pupils and their contacts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schoolgate.v1 import error_reason_pb2 as r
from schoolgate.v1 import query_service_pb2 as q
from schoolgate.v1.record_pb2 import Record
from schoolgate_sdk import KindInfo
from schoolgate_sdk.kinds import KINDS, KINDS_BY_NAME
from schoolgate_server.model.batches import batched
from schoolgate_server.model.errors import Violation, invalid_request
from schoolgate_server.model.questions import GROWING, INDEXED_REFERENCES, Condition, Question
from schoolgate_server.rpc.checks import Violations, echo
from schoolgate_server.rpc.ports import Store
from schoolgate_server.rpc.selection import mask_of, show_only

MOST_STEPS = 12
DEEPEST = 6
MOST_RELATED = 20_000
"""Related records of one page."""

MOST_SENT = 100_000
"""Related records after which an answer ends with a token; the server remembers which it has sent."""

_AT_ONCE = 1000
"""Ids in one condition."""


@dataclass(frozen=True, slots=True)
class Step:
    """A checked expansion: records of ``info``'s kind, reached by ``field`` of theirs where ``is_back``."""

    info: KindInfo
    field: str
    is_back: bool
    further: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Expansions:
    """The steps of a request; ``shown`` has the fields to show by the kind's name, none for all."""

    steps: tuple[Step, ...]
    shown: Mapping[str, frozenset[str]]


def expansions_of(asked: Sequence[q.Expansion], start: KindInfo | None, violations: Violations) -> Expansions:
    """Return the checked expansions of a request for ``start``, after noting what is wrong with them."""
    if start is None:
        return Expansions((), {})
    if _size(asked) > MOST_STEPS or _depth(asked) > DEEPEST:
        violations.add("expand", f"must be at most {MOST_STEPS} steps, {DEEPEST} deep")
        return Expansions((), {})
    masks: dict[str, list[frozenset[str]]] = {}
    steps = _steps(asked, start, "expand", masks, violations)
    # One record may be reached by several steps, and is sent once.
    nothing = frozenset[str]()
    shown = {name: nothing.union(*some) if all(some) else nothing for name, some in masks.items()}
    return Expansions(steps, shown)


def _size(asked: Sequence[q.Expansion]) -> int:
    return sum(1 + _size(each.expand) for each in asked)


def _depth(asked: Sequence[q.Expansion]) -> int:
    return max((1 + _depth(each.expand) for each in asked), default=0)


def _steps(
    asked: Sequence[q.Expansion],
    start: KindInfo,
    place: str,
    masks: dict[str, list[frozenset[str]]],
    violations: Violations,
) -> tuple[Step, ...]:
    steps: list[Step] = []
    for index, each in enumerate(asked):
        here = f"{place}[{index}]"
        back = violations.kind(each.kind, f"{here}.kind") if each.kind else None
        if each.kind and back is None:
            continue
        if each.field not in leading(start, back):
            named = echo(each.field)
            by = f"{back.name}.{named}" if back else named
            description = f"{by!r} does not lead on from {start.name}, but {_all_leading(start)}"
            violations.add(f"{here}.field", description, r.ERROR_REASON_FILTER_INVALID, {"field": named})
            continue
        info = back or _target(each.field)
        masks.setdefault(info.name, []).append(
            mask_of(each.field_mask, info, violations, f"{here}.field_mask")
        )
        further = _steps(each.expand, info, f"{here}.expand", masks, violations)
        steps.append(Step(info, each.field, back is not None, further))
    return tuple(steps)


def leading(start: KindInfo, back: KindInfo | None = None) -> tuple[str, ...]:
    """Return the references that lead on from ``start``, those of ``back`` to it where that is given.

    Of a kind with ever more records only those that an index answers are offered.
    """
    if back is None:
        return start.references
    return tuple(
        field
        for field in back.references
        if _target(field) is start and (back.kind not in GROWING or field in INDEXED_REFERENCES)
    )


def _all_leading(start: KindInfo) -> str:
    onwards = ", ".join(leading(start)) or "nothing"
    backwards = ", ".join(f"{back.name}.{field}" for back in KINDS.values() for field in leading(start, back))
    return f"{onwards}; with kind, {backwards or 'nothing'}"


def _target(field: str) -> KindInfo:
    return KINDS_BY_NAME[field.removesuffix("_id")]


class Expander:
    """Follows steps for one answer, with its instant, its day and whether it shows what has left."""

    def __init__(
        self,
        store: Store,
        request: q.QueryRecordsRequest,
        expansions: Expansions,
        question: Question,
        seq: int,
    ) -> None:
        self._store = store
        self._school_id = request.school_id
        self._expansions = expansions
        self._tombstones = question.include_tombstones
        self._day = question.effective_on
        self._seq = seq
        self._sent: set[str] = set()
        self._page: dict[str, Record] = {}

    @property
    def has_sent_enough(self) -> bool:
        """Whether the answer should end here."""
        return len(self._sent) >= MOST_SENT

    async def related(self, records: Sequence[Record]) -> list[Record]:
        """Return what the steps lead to from a page of ``records``, but nothing that was returned before.

        Raises:
            ServiceError: ``REQUEST_INVALID``; it is too much for one page.
        """
        self._page = {}
        for step in self._expansions.steps:
            await self._follow(records, step)
        new = [record for record_id, record in self._page.items() if record_id not in self._sent]
        self._sent.update(self._page)
        # Not before: further steps go along fields that need not be shown.
        for record in new:
            show_only(self._expansions.shown[str(record.WhichOneof("body"))], [record])
        return new

    async def _follow(self, records: Sequence[Record], step: Step) -> None:
        wanted = _wanted(records, step)
        if not wanted:
            return
        # Merged records are still referred to by their old ids, and stand for one another.
        ids = sorted(await self._store.redirects.same(self._school_id, wanted, self._seq))
        found: list[Record] = []
        for some in batched(ids, _AT_ONCE):
            question = self._question(step, tuple(some))
            more = await self._store.records.some(
                self._school_id, step.info.kind, question, self._seq, MOST_RELATED + 1
            )
            found += more
            self._page.update((record.id, record) for record in more)
            if len(self._page) > MOST_RELATED:
                raise invalid_request(
                    Violation(
                        "expand",
                        f"leads to more than {MOST_RELATED} records from one page; lower page_size, give "
                        "effective_on, or ask for them by themselves",
                    )
                )
        for further in step.further:
            await self._follow(found, further)

    def _question(self, step: Step, ids: tuple[str, ...]) -> Question:
        if step.is_back:
            referring = Condition(step.field, q.FILTER_OPERATOR_IN, ids)
            return Question((referring,), self._tombstones, self._day)
        return Question((), self._tombstones, self._day, ids=ids)


def _wanted(records: Sequence[Record], step: Step) -> set[str]:
    """Return the ids of ``records``, or those that they refer to, whichever ``step`` goes along."""
    if step.is_back:
        return {record.id for record in records}
    bodies = [getattr(record, str(record.WhichOneof("body"))) for record in records]
    return {getattr(body, step.field) for body in bodies if body.HasField(step.field)}
