"""What one would write in Python: a loop by hand, and the same functions as steps of a Bytewax flow."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import re
import sys
from collections.abc import Sequence

from benchmarks.peers import contender, jobs, process, tools

_PROGRAMS = tools.PROGRAMS / "python"
_FLOW_SAYS = "one worker, the loop's functions as one `flat_map_batch` step, ids in a plain set, JSON lines"
_LOOP_SAYS = (
    "msgspec structs, ids in a plain set, confluent-kafka, JSON lines, offsets committed; no retries, no dead letters, "
    "no bound on memory, times are copied as text"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bytewax:
    name: str = "Bytewax"
    says: str = _FLOW_SAYS

    def version(self) -> str:
        (found,) = re.findall(r"^bytewax==(\S+)", (_PROGRAMS / "requirements.lock").read_text(), flags=re.MULTILINE)
        return str(found)

    def offers(self, job: jobs.Job) -> bool:
        return job.source == "topic"

    def run(self, task: contender.Task) -> contender.Done:
        return _run("flow", [str(tools.bytewax()), str(_PROGRAMS / "flow.py")], task)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    name: str = "msgspec loop"
    says: str = _LOOP_SAYS

    def version(self) -> str:
        return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("msgspec", "confluent-kafka"))

    def offers(self, job: jobs.Job) -> bool:
        return job.source == "topic"

    def run(self, task: contender.Task) -> contender.Done:
        return _run("loop", [sys.executable, str(_PROGRAMS / "loop.py")], task, str(task.count))


def _run(name: str, command: Sequence[str], task: contender.Task, *further: str) -> contender.Done:
    path = task.folder / "landed.ndjson"
    into = task.into if task.job.into == "topic" else str(path)
    running = process.Process(name, [*command, task.job.name, task.bootstrap, task.topic, *further, into], task.folder)
    try:
        used = running.ended()
    finally:
        running.kill()
    return contender.Done(cpu_seconds={name: used}, files=[path] if path.exists() else [])
