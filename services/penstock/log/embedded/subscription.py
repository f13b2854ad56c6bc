"""A group's one member on one machine: it owns all partitions of its topic from its first poll to its end."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence

from penstock.log import port
from penstock.log.embedded import reader as embedded_reader
from penstock.log.embedded import store as embedded_store

CommitCall = Callable[[Mapping[int, port.Commit]], Awaitable[None]]


class EmbeddedSubscription:
    """`port.Subscription`. The listener's `on_assigned` is awaited inside the first poll, so it may seek and pause.

    Closing is the owner's own doing and calls no listener. A group that never committed starts at each partition's start.
    """

    def __init__(
        self,
        *,
        topic: str,
        group: str,
        partitions: int,
        readers: embedded_reader.Readers,
        commit: CommitCall,
        closed: Callable[[], None],
        listener: port.AssignmentListener,
    ) -> None:
        self._topic = topic
        self._group = group
        self._partitions = partitions
        self._readers = readers
        self._commit = commit
        self._closed = closed
        self._listener = listener
        self._positions: dict[int, int] = {}
        self._paused: set[int] = set()
        self._news = asyncio.Event()
        self._news.set()
        self._assigned = self._ended = False
        self._turn = 0

    async def poll(self, *, max_bytes: int, timeout_seconds: float) -> Sequence[port.Record]:
        """As the port says. What arrives while nothing is waiting wakes it; there is no polling of the file."""
        self._check_open()
        if not self._assigned:
            await self._assign()
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        while await self._news_before(deadline):
            self._news.clear()
            try:
                found = await self._fetch(max_bytes)
            except BaseException:
                self._news.set()
                raise
            if found:
                self._news.set()
                return found
        return ()

    def pause(self, partitions: Sequence[int]) -> None:
        self._check_known(partitions)
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[int]) -> None:
        self._check_known(partitions)
        self._paused.difference_update(partitions)
        self._news.set()

    def seek(self, partition: int, offset: int) -> None:
        """Also before the first poll; whether `offset` is in the log shows at the next one."""
        self._check_known([partition])
        self._positions[partition] = offset
        self._news.set()

    async def commit(self, commits: Mapping[int, port.Commit]) -> None:
        self._check_open()
        await self._commit(commits)

    async def close(self) -> None:
        if not self._ended:
            self._ended = True
            self._news.set()
            self._closed()

    def wake(self) -> None:
        """Something was appended to the topic."""
        self._news.set()

    async def _assign(self) -> None:
        commits = await self._readers.run(lambda connection: embedded_reader.committed(connection, self._topic, self._group))
        for partition in range(self._partitions):
            if partition in self._positions:
                continue
            if commit := commits.get(partition):
                self._positions[partition] = commit.offset
            else:
                read = functools.partial(embedded_reader.bounds, topic=self._topic, number=partition)
                self._positions[partition] = (await self._readers.run(read)).start
        await self._listener.on_assigned({partition: commits.get(partition) for partition in range(self._partitions)})
        self._assigned = True

    async def _news_before(self, deadline: float) -> bool:
        self._check_open()
        if not self._news.is_set():
            try:
                async with asyncio.timeout_at(deadline):
                    await self._news.wait()
            except TimeoutError:
                return False
            self._check_open()
        return True

    async def _fetch(self, max_bytes: int) -> list[port.Record]:
        wanted = self._wanted()
        read = functools.partial(embedded_reader.fair, topic=self._topic, wanted=wanted, max_bytes=max_bytes)
        found = await self._readers.run(read)
        asked = dict(wanted)
        given: list[port.Record] = []
        for partition, batch in found.items():
            # A seek or a pause while the read was under way overtakes it.
            if self._positions[partition] == asked[partition] and partition not in self._paused:
                self._positions[partition] = batch[-1].offset + 1
                given.extend(batch)
        return given

    def _wanted(self) -> list[tuple[int, int]]:
        """What to read, beginning with another partition each time."""
        self._turn = (self._turn + 1) % self._partitions
        order = [(self._turn + step) % self._partitions for step in range(self._partitions)]
        return [(partition, self._positions[partition]) for partition in order if partition not in self._paused]

    def _check_open(self) -> None:
        if self._ended:
            raise port.LogError(f"group {self._group} on {self._topic}: the subscription is closed")

    def _check_known(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            embedded_store.check_partition(self._topic, partition, self._partitions)
