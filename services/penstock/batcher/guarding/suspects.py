"""The crash-loop guard: which block is suspected of having killed the process, and how its guilt is proven.

A start that makes no progress is counted with the offset. After two of them blocks are read one at a time, and each is
named with the offset before anything is done with it; what the next start finds named there is tried in a limited child
process, all of it first and then by halves. Only an event that kills the child alone, twice, is guilty: a process that was
killed from outside leaves a name behind as well, and an innocent block just goes on. See docs/design/0013.
"""

from __future__ import annotations

import asyncio
import dataclasses
import pickle
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import structlog

from penstock.batcher import settings as lane_settings
from penstock.batcher.deadletters import letters
from penstock.batcher.reading import prepare
from penstock.core import addresses, deadletters, ledger
from penstock.core.transform import spec
from penstock.log import port
from penstock.telemetry import metrics

CAREFUL_AFTER = 2
"""Starts without progress after which blocks are read one at a time."""
ACCUSED_AFTER = 3
CODE = "ProcessKilled"
"""The code of a letter for an event that killed the child; such an event is tried again before each of its replays."""

_log = structlog.get_logger()

_SLACK_SECONDS = 60.0
_SLACK_BYTES = 1024 * 1024 * 1024
OUT_OF_MEMORY = 77
"""Exit code of a child whose Python was refused memory."""


class Guard:
    """What one partition commits against a crash loop, from the metadata it started with. Pure but for its own memory."""

    def __init__(self, offset: int, metadata: ledger.LaneMetadata, log_end: int) -> None:
        self._offset, self._before = offset, metadata
        self._careful_below = log_end if metadata.starts >= CAREFUL_AFTER else offset
        self._begun = self._stopped = False
        self._suspect: int | None = None

    def begin(self) -> bool:
        """The first block is about to be read; whether this has to be committed now."""
        first, self._begun = not self._begun, True
        return first

    def stop(self) -> None:
        """The process ends in good order, which no block has to answer for."""
        self._stopped = True

    def is_accused(self, offset: int) -> bool:
        """Whether the process has died with this block alone in work, for the third time without progress or later."""
        return self._before.starts >= ACCUSED_AFTER and self._before.suspect == offset

    def is_careful(self, offset: int) -> bool:
        """Whether this block is to be read alone, and named before."""
        return offset < self._careful_below

    def name(self, offset: int) -> None:
        """This block is what kills the process if it dies from now on; to be committed at once."""
        self._suspect = offset

    def stretches(self, records: Sequence[port.Record]) -> Iterator[Sequence[port.Record]]:
        """The records of a poll as they may be read: careful ones alone, the rest together."""
        careful = sum(self.is_careful(record.offset) for record in records)
        yield from ([record] for record in records[:careful])
        if rest := records[careful:]:
            yield rest

    def marks(self, position: int) -> tuple[int, int | None]:
        """Starts without progress and the block named, to be committed with `position`."""
        if self._stopped:
            return 0, None
        if not self._begun:
            return self._before.starts, self._before.suspect
        if position > self._offset and position >= self._careful_below:
            return 0, None
        return self._before.starts + 1, self._suspect


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`guilty`: index in the group to what happened to the child; `runs`: stretches of the others that it has survived."""

    guilty: Mapping[int, str]
    runs: Sequence[tuple[int, int]]


class Court:
    """Tries the events of suspected blocks in child processes, one child at a time."""

    def __init__(self, settings: lane_settings.LaneSettings) -> None:
        self._settings = settings

    async def hear(self, group: prepare.Group, suspects: Sequence[int] | None = None) -> Verdict:
        """Which events of the group kill the child by themselves; of `suspects` alone where they are given."""
        guilty: dict[int, str] = {}
        runs: list[tuple[int, int]] = []
        told = self._settings
        whole = list(group.runs(told.transform_rows, told.transform_bytes))
        for start, stop in whole if suspects is None else [(at, at + 1) for at in suspects]:
            await self._halve(group, start, stop, guilty, runs)
        outcome = "convicted" if guilty else "cleared"
        metrics.SUSPECTS.labels(**told.labels, outcome=outcome).inc()
        first = group.blocks[0].offset if group.blocks else -1
        _log.warning("suspect_heard", sink=told.sink, offset=first, outcome=outcome, events=len(guilty))
        return Verdict(guilty=guilty, runs=runs)

    async def _halve(
        self, group: prepare.Group, start: int, stop: int, guilty: dict[int, str], runs: list[tuple[int, int]]
    ) -> None:
        death = await self._try(group, start, stop)
        if death and stop - start == 1:
            # Once may be somebody else's doing, such as the machine's memory running out.
            death = await self._try(group, start, stop)
        if not death:
            runs.append((start, stop))
        elif stop - start == 1:
            guilty[start] = death
        else:
            middle = (start + stop) // 2
            await self._halve(group, start, middle, guilty, runs)
            await self._halve(group, middle, stop, guilty, runs)

    async def _try(self, group: prepare.Group, start: int, stop: int) -> str:
        """How the child died of these events; empty where it lived."""
        told = self._settings
        seconds = 2 * told.transform_seconds + _SLACK_SECONDS
        charge = Charge(
            transform=told.transform,
            memory_bytes=told.transform_memory_bytes,
            time_limit_seconds=told.transform_seconds,
            slack_bytes=_SLACK_BYTES,
            lifetime_seconds=int(seconds),
            events=_stream(group.table.slice(start, stop - start)),
            items=None if group.items is None else [list(items) for items in group.items[start:stop]],
        )
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "penstock.batcher.guarding.suspect_child"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(seconds + _SLACK_SECONDS):
                await child.communicate(pickle.dumps(charge))
        except TimeoutError:
            return f"the process that ran it did not end within {seconds:.0f} s"
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        return _death(child.returncode or 0, seconds)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What a child is given: a transform, its limits, and events as an Arrow stream."""

    transform: spec.TransformSpec
    memory_bytes: int
    time_limit_seconds: float
    slack_bytes: int
    lifetime_seconds: int
    events: bytes
    items: list[list[int]] | None


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _death(code: int, seconds: float) -> str:
    """Only a death proves something: what is merely raised would be raised in the lane as well, and is dealt with there."""
    if code == OUT_OF_MEMORY:
        return "the process that ran it was refused memory"
    if -code in (signal.SIGALRM, signal.SIGXCPU):
        return f"the process that ran it did not end within {seconds:.0f} s"
    return f"the process that ran it was ended by {signal.Signals(-code).name}" if code < 0 else ""


def without(group: prepare.Group, verdict: Verdict) -> tuple[prepare.Group, list[tuple[int, int]]]:
    """The group without its guilty events, whose blocks say so, and the runs renumbered."""
    if not verdict.guilty:
        return group, list(verdict.runs)
    guilty = np.zeros(len(group.lengths), dtype=bool)
    guilty[list(verdict.guilty)] = True
    before = np.concatenate([[0], np.cumsum(guilty)])
    kept = dataclasses.replace(
        group,
        blocks=[_convicted(block, group, verdict) for block in group.blocks],
        events=dataclasses.replace(
            group.events,
            offsets=group.events.offsets[~guilty],
            ordinals=group.events.ordinals[~guilty],
            blocks=None if group.events.blocks is None else group.events.blocks[~guilty],
        ),
        table=group.table.filter(pa.array(~guilty)),
        lengths=group.lengths[~guilty],
        sizes=group.sizes[~guilty],
        items=None if group.items is None else [items for items, out in zip(group.items, guilty, strict=True) if not out],
    )
    return kept, [(start - int(before[start]), stop - int(before[stop])) for start, stop in verdict.runs]


def _convicted(block: prepare.BlockVerdict, group: prepare.Group, verdict: Verdict) -> prepare.BlockVerdict:
    mine = {
        group.events.position(at): message
        for at, message in verdict.guilty.items()
        if int(group.events.block_offsets[at]) == block.offset
    }
    return dataclasses.replace(block, killers=mine) if mine else block


def letters_of(group: prepare.Group) -> list[letters.Failed]:
    """What is said of the guilty events of the group."""
    return [letter(place, how) for block in group.blocks for place, how in block.killers.items()]


def letter(place: addresses.Position, how: str) -> letters.Failed:
    """What is said of a guilty event."""
    return letters.Failed(
        place=place,
        item=None,
        category=deadletters.Category.TRANSFORM_FAILED,
        stage="transform",
        code=CODE,
        message=f"the event kills the process that transforms it: {how}; look at what the expressions do with it",
    )
