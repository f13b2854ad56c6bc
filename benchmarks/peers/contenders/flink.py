"""Flink SQL in a local cluster of one slot, given the scripts in programs/flink."""

from __future__ import annotations

import dataclasses
import re

from benchmarks.peers import contender, filling, jobs, process, tools

_SCRIPTS = tools.PROGRAMS / "flink"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Flink:
    name: str = "Flink SQL"
    says: str = "one slot, ids in the hash map state by ROW_NUMBER, object reuse, a checkpoint per minute, JSON lines"

    def version(self) -> str:
        artifacts = dict(
            re.findall(r"<artifactId>([^<]+)</artifactId><version>([\d.-]+)</version>", (_SCRIPTS / "pom.xml").read_text())
        )
        return f"{artifacts['flink-json']}, connector {artifacts['flink-connector-kafka']}"

    def offers(self, job: jobs.Job) -> bool:
        return job.source == "topic"

    def run(self, task: contender.Task) -> contender.Done:
        script = filling.filled(_SCRIPTS / f"{task.job.name}.sql", task)
        running = process.Process("flink", [*tools.flink(), str(script)], task.folder)
        try:
            used = running.ended()
        finally:
            running.kill()
        files = [path for path in (task.folder / "landed").rglob("*") if path.is_file() and not path.name.startswith(".")]
        return contender.Done(cpu_seconds={"flink": used}, files=files)
