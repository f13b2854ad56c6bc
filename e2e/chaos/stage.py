"""What a fault needs to happen: a site of its own, a scale, and a place to say how it went."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterator

from e2e.chaos import events, hook, play, processes, report, site
from e2e.checker import verdict


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How long and how often. The short form is for each change, the long one for a release."""

    kills: int
    stop_seconds: float
    hold_seconds: float
    rounds: int


SHORT = Scale(kills=1, stop_seconds=3.0, hold_seconds=1.5, rounds=1)
LONG = Scale(kills=20, stop_seconds=30.0, hold_seconds=5.0, rounds=3)


class Stage(play.Play):
    """One fault's surroundings."""

    def __init__(self, nursery: processes.Nursery, path: pathlib.Path, seed: int, scale: Scale) -> None:
        super().__init__(nursery, path, seed)
        self.scale = scale

    @contextlib.contextmanager
    def site(self, *, text: str | None = None, told: hook.Hook | None = None, hook_refuses: float = 0.0) -> Iterator[site.Site]:
        """A pipeline of its own, not yet started; with an HTTP sink where `told` is there to take its rows."""
        text = text or events.pipeline(hook=told.url if told else "")
        with site.Site(
            self.nursery, self.path, self.seed, text=text, hook=told.found if told else None, hook_refuses=hook_refuses
        ) as made:
            made.create_table()
            try:
                yield made
            except Exception:
                self.so_far = made.so_far()
                raise
            finally:
                self.recoveries += made.recoveries


Perform = Callable[[Stage], verdict.Verdict]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`perform` lets it happen under load and judges what is there afterwards."""

    name: str
    perform: Perform


def happen(fault: Fault, nursery: processes.Nursery, folder: pathlib.Path, seed: int, scale: Scale) -> report.Report:
    """One fault from its beginning to its verdict; whatever goes wrong is in the report."""
    stage = Stage(nursery, folder / play.slug(fault.name), seed, scale)
    return stage.reported(fault.name, lambda: fault.perform(stage))
