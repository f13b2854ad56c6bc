"""One fault's course, over whatever log: what is counted while it happens, and the report at its end."""

from __future__ import annotations

import pathlib
import random
import time
from collections.abc import Callable

from e2e.chaos import processes, report
from e2e.checker import verdict


def slug(fault: str) -> str:
    """A fault's name as that of a folder."""
    return "".join(letter if letter.isalnum() else "-" for letter in fault)


class Play:
    """`times` and `how` go into the report; `so_far` is what could be judged before something went wrong."""

    def __init__(self, nursery: processes.Nursery, path: pathlib.Path, seed: int) -> None:
        self.nursery, self.path, self.seed = nursery, path, seed
        self.random = random.Random(seed)
        self.times = 0
        self.how = ""
        self.recoveries: list[float] = []
        self.so_far: verdict.Verdict | None = None

    def reported(self, fault: str, perform: Callable[[], verdict.Verdict]) -> report.Report:
        """From its beginning to its verdict; whatever goes wrong is in the report."""
        began, judged, error = time.monotonic(), None, ""
        try:
            judged = perform()
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
        finally:
            self.nursery.shift(0.0)
        return report.Report(
            name=fault,
            seed=self.seed,
            times=self.times,
            seconds=time.monotonic() - began,
            verdict=judged or self.so_far,
            recoveries=tuple(self.recoveries),
            how=self.how,
            error=error,
        )
