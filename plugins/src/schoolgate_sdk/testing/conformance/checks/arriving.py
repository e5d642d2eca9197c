"""What the world says is what arrives: kind by kind, after every edit, through a window."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk.kinds import KINDS
from schoolgate_sdk.testing.conformance.bench import Arrival, Bench
from schoolgate_sdk.testing.conformance.editing import EDITS, Edit
from schoolgate_sdk.testing.conformance.outcome import Check, CheckFailed, NotApplicable, Waived

_SHOWN = 3
"""Differences that a failure quotes; the first ones usually explain the others."""


def complain(differences: list[str], arrival: Arrival) -> None:
    """Raise ``CheckFailed`` where something differs or was refused."""
    problems = [*differences, *(f"the row was refused: {text}" for text in arrival.rejections)]
    if problems:
        more = f" (and {len(problems) - _SHOWN} more)" if len(problems) > _SHOWN else ""
        raise CheckFailed(
            "; ".join(problems[:_SHOWN]) + more,
            "correct parser or simulator; say what the MIS does not give by a waiver in the target: "
            "without_fields(…), hidden(…), shown_as(…), each with its reason",
        )


def _kind_check(kind: Kind.ValueType) -> Check:
    name = KINDS[kind].name

    async def run(bench: Bench) -> str:
        whole = bench.expectation.whole(kind)
        if whole is not None:
            if kind in bench.expectation.offered:
                raise CheckFailed(f"{name} is waived, and yet a dataset yields it", "remove the waiver")
            raise Waived(whole.reason)
        stage, arrival, comparison = await bench.well()
        in_world = sum(1 for truth in stage.world.canonical() if truth.kind == kind)
        if kind not in bench.expectation.offered:
            if not in_world:
                raise NotApplicable("the world has none, and no dataset yields it")
            raise CheckFailed(
                f"no dataset yields {name}",
                f"add a dataset, or waive it: without_kind(KIND_{name.upper()}, reason=…)",
            )
        differences = comparison.of([kind])
        refused = [text for text in arrival.rejections if _could_be(bench, kind, text)]
        complain(differences, Arrival(rejections=refused))
        came = sum(1 for entity in arrival.all() if entity.kind == kind)
        if not came:
            raise NotApplicable("the world has none")
        return f"{came} as in the world{_waived_of(bench, kind)}"

    return Check(f"arrives.{name}", f"Every {name.replace('_', ' ')} arrives as the world has it.", run)


def _could_be(bench: Bench, kind: Kind.ValueType, rejection: str) -> bool:
    dataset = bench.connector.dataset(rejection.partition(":")[0])
    return any(spec.kind == kind for spec in dataset.kinds)


def _waived_of(bench: Bench, kind: Kind.ValueType) -> str:
    """Return what of a kind is not as in the world, with the reasons."""
    return "".join(
        f"; {waiver.says} ({waiver.reason})" for waiver in bench.target.waivers if waiver.kind == kind
    )


async def _references(bench: Bench) -> str:
    stage, arrival, _ = await bench.well()
    offered = bench.expectation.offered
    refs = {
        (KINDS[entity.kind].name, name, key) for entity in arrival.all() for name, key in entity.refs.items()
    }
    fields = {
        (kind, name)
        for kind, name, key in refs
        if name not in {info.name: info for info in KINDS.values()}[kind].references or key[0] not in offered
    }
    if fields:
        kind, name = min(fields)
        raise CheckFailed(
            f"{kind}.{name} refers to something that no dataset yields",
            "leave the reference out, or add the dataset that it refers to",
        )
    known = {*arrival.entities, *arrival.aliases}
    dangling = [(kind, name) for kind, name, key in refs if key not in known]
    hidden = sum(1 for _ in stage.expected()) < sum(
        1 for truth in stage.world.canonical() if truth.kind in offered
    )
    if dangling and not hidden:
        kind, name = dangling[0]
        raise CheckFailed(
            f"{len(dangling)} references name a key that nothing has, such as {kind}.{name}",
            "refer by a key that the other record has: its own, or one of its other_keys",
        )
    return f"{len(refs) - len(dangling)} references resolved" + (
        f", {len(dangling)} to what the MIS does not show" if dangling else ""
    )


def _edit_check(edit: Edit) -> Check:
    async def run(bench: Bench) -> str:
        async with bench.stage() as stage:
            edit.prepare(stage.world)
            await stage.look()
            before = stage.expected()
            edit.make(stage.world)
            arrival, after = await stage.arrive(), stage.expected()
            complain(stage.compare(arrival, after).of(), arrival)
            if after == before:
                raise NotApplicable("nothing changes in what this connector gives")
        return f"{len(arrival.entities)} entities as in the world"

    return Check(f"edit.{edit.name}", edit.says, run)


async def _all_edits(bench: Bench) -> str:
    async with bench.stage() as stage:
        await stage.look()
        for edit in EDITS:
            edit.happen(stage.world)
        arrival = await stage.arrive()
        complain(stage.compare(arrival).of(), arrival)
    return f"{len(arrival.entities)} entities as in the world"


async def _deletions(bench: Bench) -> str:
    """See by their keys that entities are gone, whatever else of the read is as it should be."""
    async with bench.stage() as stage:
        before = await stage.arrive()
        pairs = stage.compare(before).pairs
        for edit in (edit for edit in EDITS if edit.keeps_keys):
            edit.happen(stage.world)
        after = await stage.arrive()
        expected = stage.expected()
        there = {(entity.kind, entity.key) for entity in expected}
        # A key may be another entity's by now: who comes back to a group may have the key of the first time.
        taken = {(kind, theirs) for (kind, _), theirs in stage.compare(after, expected).pairs.items()}
    gone = [(kind, theirs) for (kind, key), theirs in pairs.items() if (kind, key) not in there]
    if not gone:
        raise NotApplicable("nothing that this connector gives is deleted by any edit")
    left = [before.entities[key][0] for key in gone if key in after.entities and key not in taken]
    if left:
        raise CheckFailed(
            f"{len(left)} of {len(gone)} entities that were deleted are still read, such as {left[0]}",
            "read what the MIS has now, and keep nothing from an earlier read",
        )
    return "gone: " + ", ".join(
        f"{count} {KINDS[kind].name}" for kind, count in Counter(kind for kind, _ in gone).items()
    )


async def _window(bench: Bench) -> str:
    windowed = [dataset for dataset in bench.connector.datasets if dataset.windowed]
    if not windowed:
        raise NotApplicable("no dataset is read by a window")
    compared = 0
    async with bench.stage() as stage:
        whole = await stage.arrive()
        days = stage.world.year.days
        window = days[2], days[5]
        for dataset in windowed:
            by = {spec.kind: spec.windowed_by for spec in dataset.kinds if spec.windowed_by}
            arrival = Arrival()
            async with stage.session() as session:
                reading = await stage.read(session, dataset, window=window)
            arrival.add(dataset, reading.rows, stage.settings)
            first, end = (day.isoformat() for day in window)
            for kind, name in by.items():
                here = {entity.key for entity in arrival.all() if entity.kind == kind}
                there = {
                    entity.key
                    for entity in whole.all()
                    if entity.kind == kind and first <= str(entity.fields.get(name, ""))[:10] < end
                }
                compared += len(there)
                if here != there:
                    raise CheckFailed(
                        f"{dataset.name} from {first} up to {end}: {len(there - here)} of {len(there)} "
                        f"{KINDS[kind].name} did not come, and {len(here - there)} of other days did",
                        "yield all rows of the days from date_from up to, and without, date_to, and no other",
                    )
    if not compared:
        raise NotApplicable("nothing in the world is of those days")
    return f"{compared} entities of three days, and no other; the day after a window is not in it"


async def _needed(bench: Bench) -> str:
    """Look for waivers that nothing needs, over a world in which everything has happened."""
    for waiver in bench.target.waivers:
        if waiver.check and waiver.check not in bench.check_ids:
            raise CheckFailed(
                f"a waiver names the check {waiver.check}, which there is not", "correct the id"
            )
    world = bench.world()
    list(bench.expectation.truths(world))
    for edit in EDITS:
        edit.happen(world)
        list(bench.expectation.truths(world))
    world.advance(world.today + timedelta(days=30))
    list(bench.expectation.truths(world))
    for waiver in bench.target.waivers:
        if waiver.kind is None or waiver.is_whole_kind or waiver in bench.expectation.needed:
            continue
        about = f"{KINDS[waiver.kind].name} {', '.join(waiver.fields)}".strip()
        raise CheckFailed(f"the waiver of {about} ({waiver.reason!r}) is not needed", "remove it")
    return f"{len(bench.target.waivers)} waivers, each of them needed"


CHECKS: tuple[Check, ...] = (
    *(_kind_check(kind) for kind in KINDS),
    Check("arrives.references", "References name keys that other records have.", _references),
    Check("arrives.deletions", "What is deleted is gone from a full read.", _deletions),
    Check("arrives.window", "A window gives all rows of its days, and no other.", _window),
    *(_edit_check(edit) for edit in EDITS),
    Check("edit.everything", "After all these edits at once, all arrives as the world has it.", _all_edits),
    Check("waivers.needed", "Every waiver is needed, and names what there is.", _needed),
)
