"""From a judged group of events to rows in the open batch, and letters for the rows that can't be made.

What reads the main log and what reads a replay log end here alike; the columnar work runs on the lane's one worker thread.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable
from concurrent import futures
from typing import ParamSpec, TypeVar

from penstock.batcher import accounts
from penstock.batcher import settings as lane_settings
from penstock.batcher.deadletters import letters
from penstock.batcher.reading import prepare
from penstock.batcher.writing import dispatch
from penstock.core import deadletters

P = ParamSpec("P")
R = TypeVar("R")


class Feed:
    """Used from the lane's event loop only."""

    def __init__(
        self,
        settings: lane_settings.LaneSettings,
        preparer: prepare.Preparer,
        worker: futures.Executor,
        lane_accounts: accounts.LaneAccounts,
        dispatcher: dispatch.Dispatcher,
        refused: letters.Letters,
        transformed: Callable[[int], None],
        room: Callable[[int], Awaitable[None]],
    ) -> None:
        """`transformed` is told how many rows each transform call made, refused ones among them; `room` waits until rows of a
        partition may be made, and raises RevokedError when that partition is gone by then."""
        self._settings, self._preparer, self._worker = settings, preparer, worker
        self._accounts, self._dispatcher, self._letters = lane_accounts, dispatcher, refused
        self._told, self._room = transformed, room

    async def on_worker(self, call: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Run `call` on the lane's worker thread, after what was asked of it before."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, lambda: call(*arguments, **named))

    async def take(self, group: prepare.Group, born: float, runs: Iterable[tuple[int, int]] | None = None) -> None:
        """Transform all of the group, as fast as the open batch has room. The accounts know its blocks already.

        `runs`: the stretches of events to do it in, where something is known about them; together they cover the group.
        """
        for start, stop in runs or group.runs(self._settings.transform_rows, self._settings.transform_bytes):
            await self._room(group.partition)
            await self._transform(group, start, stop, born)

    async def _transform(self, group: prepare.Group, start: int, stop: int, born: float) -> None:
        prepared = await self.on_worker(self._preparer.transform, group, start, stop, born)
        self._settings.failpoint("lane.transformed")
        self._accounts[group.partition].transformed(prepared.counts)
        self._told(sum(run.made for run in prepared.counts.values()))
        if prepared.chunk.rows.num_rows:
            self._dispatcher.add(prepared.chunk)
        else:
            self._dispatcher.passed(prepared.chunk.range)
        if prepared.failures:
            await self._refuse_rows(group.partition, prepared)

    async def _refuse_rows(self, partition: int, prepared: prepare.Prepared) -> None:
        failed = [
            letters.Failed(
                place=prepared.chunk.events.position(failure.event),
                item=failure.item,
                category=deadletters.Category.TRANSFORM_FAILED,
                stage="transform",
                code="ExpressionFailed",
                message=failure.message,
                expression=failure.expression,
            )
            for failure in prepared.failures
        ]
        with self._dispatcher.awaiting_letters(len(failed)):
            await self._letters.write(partition, failed)
            for offset, units in itertools.groupby(failed, key=lambda unit: unit.place.offset):
                self._accounts[partition].rows_dead_lettered(offset, len(list(units)), refused_by_store=False)
