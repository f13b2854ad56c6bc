"""Plays scenarios: some beside each other, each in namespaces of its own; those that take something away from all, alone."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import queue
import threading
import time
import traceback
from collections.abc import Callable, Sequence

from e2e.cluster import provider
from e2e.scenarios import api, beside, keep, report, world

Scenario = Callable[[world.World], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What the scenarios of a run share. `folder` keeps what failed ones leave; `told` is called with each report."""

    cluster: provider.Cluster
    connection: api.Api
    servers: beside.Beside
    provided: str
    scale: world.Scale
    folder: pathlib.Path
    told: Callable[[report.Report], None]

    def play(self, scenarios: Sequence[tuple[str, Scenario]], together: int) -> None:
        """All of them, `together` at a time. Others do it: the caller's thread stays free for signals."""
        waiting: queue.SimpleQueue[tuple[str, Scenario]] = queue.SimpleQueue()
        for one in scenarios:
            waiting.put(one)
        players = [threading.Thread(target=self._play_what_waits, args=(waiting,), daemon=True) for _ in range(together)]
        for player in players:
            player.start()
        for player in players:
            player.join()

    def _play_what_waits(self, waiting: queue.SimpleQueue[tuple[str, Scenario]]) -> None:
        while True:
            try:
                name, scenario = waiting.get_nowait()
            except queue.Empty:
                return
            self.told(self._play(name, scenario))

    def _play(self, name: str, scenario: Scenario) -> report.Report:
        """One scenario from its beginning to its verdict; whatever goes wrong is in the report."""
        here = world.World(self.cluster, self.connection, self.servers, slug(name), self.scale)
        began, error = time.monotonic(), ""
        try:
            scenario(here)
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
            folder = self.folder / slug(name)
            keep.everything(here.cluster, here.api, here.servers, here.namespaces, folder)
            (folder / "error.txt").write_text(traceback.format_exc())
        told = report.Report(
            name=name,
            provider=self.provided,
            seconds=time.monotonic() - began,
            verdicts=here.verdicts,
            error=error,
            notes=here.notes,
            waits=here.waits,
        )
        with contextlib.suppress(OSError):
            here.clear()
        return told


def slug(name: str) -> str:
    """As a namespace and a folder may be called."""
    return "".join(letter if letter.isalnum() else "-" for letter in name)
