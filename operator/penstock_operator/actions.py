"""What a plan is made of. Each action may be done twice, and a plan may stop after any of them."""

from __future__ import annotations

import dataclasses
from typing import Any

from penstock_operator import snapshot


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """Server-side apply of a whole manifest. `ours`: the child is known to be this pipeline's, so that differences are ours to
    overrule; without, an object of the same name that somebody else made is left alone and told."""

    manifest: dict[str, Any]
    ours: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Delete one child; one that is gone already is fine."""

    api_version: str
    kind: str
    name: str
    uid: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CreateToken:
    """Create this Secret with `key` set to a new random text; one that exists already stays as it is. It is never read."""

    manifest: dict[str, Any]
    key: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tell:
    """Ask one pod, over Control, for a lifecycle of one lane, or of its doors where no sink is named. The file it reads at its
    next start says the same."""

    pod: str
    address: str
    sink: str
    lifecycle: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """Give one pod, over Control, what its lane needs no restart for, as `api.live.text` makes it. Its file says the same."""

    pod: str
    address: str
    sink: str
    settings: str
    version: str
    generation: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OpenCircuit:
    """Tell one pod that most of the others of its lane find the store away."""

    pod: str
    address: str
    sink: str
    why: str


ToPod = Tell | Follow | OpenCircuit
Action = Apply | Delete | CreateToken | ToPod


def described(action: Action) -> str:
    """A few words for a log line."""
    match action:
        case Apply(manifest=manifest):
            return f"apply {_named(manifest)}"
        case CreateToken(manifest=manifest):
            return f"create {_named(manifest)}"
        case Delete(kind=kind, name=name):
            return f"delete {kind} {name}"
        case Tell(pod=pod, sink=sink, lifecycle=lifecycle):
            return f"tell {pod} that {sink or 'it'} is {lifecycle}"
        case Follow(pod=pod, sink=sink, generation=generation):
            return f"tell {pod} the settings of {sink} of generation {generation}"
        case OpenCircuit(pod=pod, sink=sink, why=why):
            return f"tell {pod} that {sink} is away: {why}"


def _named(manifest: snapshot.Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"
