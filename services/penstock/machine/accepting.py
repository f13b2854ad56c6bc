"""Whether a process may join those that share a log: what its pipeline object changes is held against the one that was accepted
last, as `penstock run` holds it against its directory.

The first process with a new object has it accepted for all; those with the old one go on beside it while they are replaced.
"""

from __future__ import annotations

import structlog

from penstock.api import edits
from penstock.api.model import pipeline as api_pipeline
from penstock.core import errors
from penstock.log import port
from penstock.machine import finished, memory, retired

_log = structlog.get_logger()

_LIVE = ("spec.schema", "spec.sinks")
"""What may differ while old and new processes run side by side: older blocks are read by name, and sinks have their own lanes."""


_TRIES = 20


class EditRefusedError(Exception):
    """The object can't take the place of the accepted one now; the message has each problem with its remedy."""


class Accepting:
    """Of one process over the log it shares."""

    def __init__(self, pipeline: api_pipeline.BatchPipeline, log: port.EventLog) -> None:
        self._pipeline, self._log, self._memory = pipeline, log, memory.InLog(log)

    async def admit(self) -> None:
        """Have the object accepted. Of two at the same moment one is first, and the other an edit of that one.

        Raises EditRefusedError, LogError.
        """
        for _ in range(_TRIES):
            known = await self._memory.newest()
            before = known.pipeline
            if before == self._pipeline:
                return
            if before is not None:
                await self._check(before)
            left = retired.left_behind(before, self._pipeline, known.retired)
            if await self._memory.replace(known, self._pipeline, left):
                for notice in edits.notices(before, self._pipeline) if before else ():
                    _log.info("edit", notice=notice)
                return
        raise port.LogUnavailableError("other processes change the pipeline of this log all the time; waiting for them to agree")

    async def _check(self, before: api_pipeline.BatchPipeline) -> None:
        problems = edits.check_edit(before, self._pipeline, drained=False)
        if problems and await finished.is_drained(self._log, before):
            problems = edits.check_edit(before, self._pipeline, drained=True)
        if problems:
            raise EditRefusedError(_text(problems))

    async def superseded(self) -> str:
        """Why this process must take no more events: what can't change while events are unread has changed since. Else empty."""
        now = await self._memory.pinned()
        if now is None or now == self._pipeline:
            return ""
        problems = edits.check_edit(self._pipeline, now, drained=False)
        fixed = [problem.field for problem in problems if not problem.field.startswith(_LIVE)]
        return f"the pipeline was changed in {', '.join(fixed)}: restart this process with the new file" if fixed else ""


def _text(problems: list[errors.Problem]) -> str:
    return "the pipeline that this log was last run with forbids this edit: " + "; ".join(
        str(one).replace("\n    ", "; ") for one in problems
    )
