"""What a plan for replays is made of, beside what pipelines' plans have. Each may be done twice."""

from __future__ import annotations

import dataclasses

from penstock_operator import actions


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Let a Job end its pods, or, with `held` false, have one again."""

    job: str
    uid: str
    held: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Steer:
    """Tell the pod at this address how fast it may go. The file that it reads at its next start says the same."""

    pod: str
    address: str
    events_per_second: int


Action = actions.Apply | actions.Delete | Hold | Steer


def described(action: Action) -> str:
    """A few words for a log line."""
    match action:
        case Hold(job=job, held=held):
            return f"{'hold' if held else 'let go'} Job {job}"
        case Steer(pod=pod, events_per_second=rate):
            return f"tell {pod} to put back {rate} letters a second"
        case _:
            return actions.described(action)
