"""What the harness asks of everybody it measures."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Protocol

from benchmarks.peers import jobs


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run of one job."""

    job: jobs.Job
    count: int
    bootstrap: str
    events: pathlib.Path
    """The events, a line each: what is sent where the job's source is requests."""
    topic: str
    """The filled topic where the source is a topic; else an empty one that may stand between door and map."""
    into: str
    """An empty topic where rows go to a topic; else a name nobody else has."""
    folder: pathlib.Path
    """An empty folder of the run's own."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """CPU seconds of each process from its first to its last instruction; the files with the rows, where they go to files."""

    cpu_seconds: Mapping[str, float]
    files: Sequence[pathlib.Path] = ()


class Contender(Protocol):
    """One line of the tables."""

    @property
    def name(self) -> str: ...

    @property
    def says(self) -> str:
        """How it does the jobs, as far as one must know it to judge the figures."""

    def version(self) -> str: ...

    def offers(self, job: jobs.Job) -> bool: ...

    def run(self, task: Task) -> Done:
        """Return when all is done and durable, and all processes have ended. Raises ContenderError."""
