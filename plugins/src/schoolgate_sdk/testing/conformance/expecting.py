"""What is to arrive: the world's truth, less what is waived."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk.connector import Connector
from schoolgate_sdk.testing.conformance.comparing import Entity
from schoolgate_sdk.testing.conformance.target import Waiver
from schoolgate_sdk.testing.truth import Truth
from schoolgate_sdk.testing.world import World


class Expectation:
    """Applies waivers, and notes which of them were needed."""

    def __init__(self, connector: Connector, waivers: tuple[Waiver, ...]) -> None:
        self.waivers = waivers
        self.offered = frozenset(spec.kind for dataset in connector.datasets for spec in dataset.kinds)
        self.needed: set[Waiver] = set()
        self._of_kind: dict[Kind.ValueType, list[Waiver]] = {}
        for waiver in waivers:
            if waiver.kind is not None and not waiver.is_whole_kind:
                self._of_kind.setdefault(waiver.kind, []).append(waiver)

    def whole(self, kind: Kind.ValueType) -> Waiver | None:
        """Return the waiver of a kind as a whole."""
        return next((w for w in self.waivers if w.is_whole_kind and w.kind == kind), None)

    def of_check(self, check: str) -> Waiver | None:
        """Return the waiver of a check."""
        return next((waiver for waiver in self.waivers if waiver.check == check), None)

    def truths(self, world: World) -> Iterator[Truth]:
        """Yield what is to arrive of a world: of the kinds that are offered, as the waivers say."""
        for truth in world.canonical():
            if truth.kind in self.offered:
                yield from self._shown(truth, world)

    def _shown(self, truth: Truth, world: World) -> list[Truth]:
        shown = [truth._replace(refs=tuple(ref for ref in truth.refs if ref.kind in self.offered))]
        for waiver in self._of_kind.get(truth.kind, ()):
            shown = [result for one in shown for result in self._apply(waiver, one, world)]
        return shown

    def _apply(self, waiver: Waiver, truth: Truth, world: World) -> list[Truth]:
        if waiver.hides is not None:
            if not waiver.hides(truth, world):
                return [truth]
            self.needed.add(waiver)
            return []
        if waiver.shows is not None:
            before = truth.message.SerializeToString(deterministic=True)
            found = waiver.shows(truth, world)
            shown = [found] if isinstance(found, Truth) else list(found)
            same = [(one.key, one.message.SerializeToString(deterministic=True), one.refs) for one in shown]
            if same != [(truth.key, before, truth.refs)]:
                self.needed.add(waiver)
            return shown
        return [self._without(waiver, truth)]

    def _without(self, waiver: Waiver, truth: Truth) -> Truth:
        given = {descriptor.name for descriptor, _ in truth.message.ListFields()}
        given |= {ref.field for ref in truth.refs}
        if not given.isdisjoint(waiver.fields):
            self.needed.add(waiver)
        for name in waiver.fields:
            if name in truth.message.DESCRIPTOR.fields_by_name:
                truth.message.ClearField(name)
        return truth._replace(refs=tuple(ref for ref in truth.refs if ref.field not in waiver.fields))

    def without_waived(self, entity: Entity) -> Entity:
        """Return what arrived without its references to kinds that are not offered."""
        if all(kind in self.offered for kind, _ in entity.refs.values()):
            return entity
        return replace(
            entity, refs={name: key for name, key in entity.refs.items() if key[0] in self.offered}
        )
