"""What an edit would do, step by step: the operator's own planner over the live objects, each of its actions taken in a model in
which every roll-out succeeds. Pure."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

from penstock.core import errors
from penstock_operator import actions, settings, snapshot
from penstock_operator.planning import acceptance, difference, plan
from penstock_operator.resources import identity

_MOST_ROUNDS: Final = 40
_MOST_REASONS: Final = 4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One action in the order in which it comes, and why."""

    what: str
    why: str = ""
    restarts: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """`problems`: the edit is refused for these, and what runs goes on. `notices` is what it means for the events."""

    problems: tuple[errors.Problem, ...]
    notices: tuple[str, ...]
    steps: tuple[Step, ...]
    is_new: bool


def rehearse(live: snapshot.Snapshot, told: settings.Settings) -> Rehearsal:
    """`live` holds the object as it would be, beside its children as they are."""
    decided = acceptance.decide(live, told)
    is_new = not live.children
    if decided.problems:
        return Rehearsal(problems=decided.problems, notices=(), steps=(), is_new=is_new)
    return Rehearsal(problems=(), notices=decided.notices, steps=tuple(_steps(live, told)), is_new=is_new)


def _steps(live: snapshot.Snapshot, told: settings.Settings) -> Iterator[Step]:
    for _ in range(_MOST_ROUNDS):
        planned = [one for one in plan.plan(live, told) if not isinstance(one, actions.ToPod)]
        if not planned:
            return
        for action in planned:
            if step := _step(live, action):
                yield step
            live = taken(live, action)


def _step(live: snapshot.Snapshot, action: actions.Action) -> Step | None:
    """None for what is only the operator's book-keeping."""
    match action:
        case actions.Apply(manifest=manifest):
            kind, name = manifest["kind"], manifest["metadata"]["name"]
            before = live.child(kind, name)
            if before is None:
                return Step(what=f"make {kind} {name}")
            reasons = list(differences(before, manifest))
            if not reasons:
                return None
            restarts = kind == "Deployment" and any(one.startswith("spec.template") for one in reasons)
            return Step(what=f"{'roll out' if restarts else 'change'} {kind} {name}", why=_why(reasons), restarts=restarts)
        case actions.Delete(kind=kind, name=name):
            return Step(what=f"delete {kind} {name}", why="nothing needs it any more")
        case _:
            return None


def _why(reasons: list[str]) -> str:
    shown = reasons[:_MOST_REASONS]
    more = f" and {len(reasons) - len(shown)} more" if len(reasons) > len(shown) else ""
    return ", ".join(shown) + more


def differences(live: Any, wanted: Any, at: str = "") -> Iterator[str]:
    """Places that would say something else, the innermost each; annotations of ours aside."""
    if difference.says(live, wanted):
        return
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        for key, value in wanted.items():
            if key not in (identity.DIGEST, identity.GENERATION):
                yield from differences(live.get(key), value, f"{at}.{key}" if at else str(key))
    elif isinstance(wanted, list) and isinstance(live, list) and len(wanted) == len(live):
        for number, pair in enumerate(zip(live, wanted, strict=True)):
            yield from differences(*pair, f"{at}[{number}]")
    else:
        yield f"{at} {_short(live)} → {_short(wanted)}" if not isinstance(wanted, Mapping | list) else at


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def taken(live: snapshot.Snapshot, action: actions.Action) -> snapshot.Snapshot:
    """The objects after the action, with every pod of it ready."""
    match action:
        case actions.Apply(manifest=manifest):
            key = manifest["kind"], manifest["metadata"]["name"]
            before = live.child(*key)
            others = [one for one in live.children if (one["kind"], one["metadata"]["name"]) != key]
            return dataclasses.replace(live, children=(*others, _made(before, manifest)))
        case actions.Delete(kind=kind, name=name):
            left = [one for one in live.children if (one["kind"], one["metadata"]["name"]) != (kind, name)]
            return dataclasses.replace(live, children=tuple(left))
        case _:
            return live


def _made(before: snapshot.Manifest | None, manifest: dict[str, Any]) -> dict[str, Any]:
    made = copy.deepcopy(manifest)
    made["metadata"].setdefault("uid", before["metadata"]["uid"] if before else "new")
    if made["kind"] != "Deployment":
        return made
    replicas = made["spec"].setdefault("replicas", before["spec"].get("replicas", 1) if before else 1)
    generation = int(before["metadata"].get("generation", 0)) + 1 if before else 1
    made["metadata"]["generation"] = generation
    counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), replicas)
    made["status"] = {"observedGeneration": generation, **counts}
    return made
