"""One lane's place in its group.

What the group says (`Member.assignment`) and what the listener was told are two values; each poll makes the second follow the
first, so nothing that happens between two polls can be lost or told twice. A revocation waits, within a bound, for the poll
that tells it. Records that came in wait here until a poll takes them, fairly by partition, so that a poll which is cancelled
loses nothing. A member that stands still though there is something to read is replaced; if that does not help, the lane hears.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import structlog
from aiokafka import errors

from penstock.log import port
from penstock.log.kafka import client as kafka_client
from penstock.log.kafka import member as kafka_member
from penstock.log.kafka import records, topics
from penstock.log.kafka import settings as kafka_settings

_log = structlog.get_logger()

_LOOK_SECONDS = 0.5
_RETRY_SECONDS = 0.2
_REFUSED = (
    errors.AuthenticationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.SaslAuthenticationFailed,
    errors.TopicAuthorizationFailedError,
)


class Reading(Protocol):
    """How the topics of others are read: by what member, and what one piece of what it takes is as a record."""

    def member(self, group: str, news: Callable[[], None]) -> kafka_member.Member: ...

    def size(self, item: Any) -> int:
        """In bytes."""

    def record(self, number: int, item: Any) -> port.Record: ...


class KafkaSubscription:
    """`port.Subscription`. `open` first. A group that never committed starts at each partition's start."""

    def __init__(
        self,
        settings: kafka_settings.Settings,
        client: kafka_client.Client,
        *,
        topic: str,
        group: str,
        listener: port.AssignmentListener,
        closed: Callable[[KafkaSubscription], None],
        reading: Reading | None = None,
    ) -> None:
        """`reading`: how a log over topics of others is read; None for one of our own."""
        self._settings = settings
        self._reading = reading
        self._client = client
        self._topic = topic
        self._name = topics.topic_name(settings.prefix, topic)
        self._group = topics.group_name(settings.prefix, group, topic)
        self._listener = listener
        self._closed = closed
        self._news = asyncio.Event()
        self._member: kafka_member.Member | None = None
        self._endings: set[asyncio.Task[None]] = set()
        self._told: kafka_member.Assignment | None = None
        self._ever_told = False
        self._waiting: dict[int, collections.deque[Any]] = {}
        self._positions: dict[int, int] = {}
        self._paused: set[int] = set()
        self._sought: dict[int, int] = {}
        self._failure: Exception | None = None
        self._turn = 0
        self._ended = False
        # How long polls have waited in vain, and whether a member was replaced since they last did not.
        self._silent_seconds = 0.0
        self._replaced = False

    async def open(self) -> None:
        """Join the group. Raises LogError."""
        patience = self._settings.patience
        member = self._join()
        try:
            async with kafka_client.bounded(f"joining {self._group}", patience.rebalance + patience.delivery):
                while member.assignment is None:
                    await asyncio.wait({member.work})
                    if member.assignment is None:
                        member.take()
        except BaseException:
            await self.close()
            raise

    async def poll(self, *, max_bytes: int, timeout_seconds: float) -> Sequence[port.Record]:
        """As the port says. Raises LogUnavailableError when the group or the brokers can't be had; the next poll tries again."""
        deadline = _now() + timeout_seconds
        looked = False
        while True:
            self._check_open()
            self._news.clear()
            await self._agree()
            self._harvest()
            if found := self._take(max_bytes):
                self._silent_seconds, self._replaced = 0.0, False
                return found
            left = deadline - _now()
            if looked and left <= 0:
                return ()
            await self._wait(max(0.0, min(left, _LOOK_SECONDS)))
            await self._watch()
            looked = True

    def pause(self, partitions: Sequence[int]) -> None:
        """What came in already waits here; the member goes on polling for its membership."""
        self._check_known(partitions)
        self._paused.update(partitions)
        for partition in partitions:
            if self._member and partition in self._positions:
                self._member.pause(partition)

    def resume(self, partitions: Sequence[int]) -> None:
        self._check_known(partitions)
        self._paused.difference_update(partitions)
        self._silent_seconds = 0.0
        for partition in partitions:
            if self._member and partition in self._positions:
                self._member.resume(partition)
        self._news.set()

    def seek(self, partition: int, offset: int) -> None:
        """Also before the first poll; whether `offset` is in the log shows at the next one."""
        self._check_known([partition])
        if partition not in self._positions:
            # Of a partition that was lost meanwhile it must not outlive the loss.
            if not self._ever_told:
                self._sought[partition] = offset
            return
        # What failed may be about where we were; a failure that lasts comes again.
        self._harvest()
        self._failure = None
        self._waiting[partition].clear()
        self._positions[partition] = offset
        self._silent_seconds = 0.0
        if self._member:
            self._member.seek(partition, offset)

    async def commit(self, commits: Mapping[int, port.Commit]) -> None:
        """In the name of what the listener was told, or of the present assignment while it was told nothing yet.

        Raises PartitionLostError when the group has gone on since: another member reads again what isn't committed.
        """
        self._check_open()
        self._check_known(list(commits))
        for partition, commit in commits.items():
            if len(commit.metadata.encode()) > kafka_settings.METADATA_BYTES:
                raise port.LogError(
                    f"{self._topic}/{partition}: metadata of {len(commit.metadata.encode())} bytes; at most"
                    f" {kafka_settings.METADATA_BYTES} can be committed"
                )
        present = self._member.assignment if self._member else None
        claim = self._told if self._ever_told else present
        if claim is None or not set(commits) <= set(claim.partitions):
            raise port.PartitionLostError(f"{self._group} does not own all of {sorted(commits)} of {self._topic}")
        await self._client.commit(self._group, self._name, claim.by, commits)

    async def close(self) -> None:
        """Leave the group. What the lane has not finished, the next owner reads again."""
        if not self._ended:
            self._ended = True
            self._news.set()
            self._retire()
        if self._endings:
            await asyncio.wait(self._endings)
        self._closed(self)

    def _join(self) -> kafka_member.Member:
        if self._reading:
            self._member = self._reading.member(self._group, self._news.set)
        else:
            self._member = kafka_member.Member(self._settings, self._name, self._group, self._news.set)
        return self._member

    def _retire(self) -> None:
        """End the member beside what goes on here; `close` waits for it."""
        member, self._member = self._member, None
        if member:
            ending = asyncio.create_task(member.end(self._client))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    async def _agree(self) -> None:
        """Tell the listener what the group has decided since the last poll."""
        member = self._member or self._join()
        if self._told is not None and self._told is not member.assignment:
            await self._tell_lost(self._told, member)
        if member.assignment is not None and self._told is None:
            await self._begin(member, member.assignment)

    async def _tell_lost(self, lost: kafka_member.Assignment, member: kafka_member.Member) -> None:
        self._waiting, self._positions = {}, {}
        self._paused.clear()
        try:
            if lost.partitions:
                await self._listener.on_revoked(lost.partitions)
        finally:
            self._told = None
            member.release()

    async def _begin(self, member: kafka_member.Member, gained: kafka_member.Assignment) -> None:
        commits = await self._client.committed(self._group, self._name)
        starts = {
            number: commits[number].offset if number in commits else (await self._client.bounds(self._name, number)).start
            for number in gained.partitions
        }
        if member.assignment is not gained:
            return  # The group has changed its mind meanwhile.
        # Dropped, since nothing is told yet. From here to the listener nothing may be awaited.
        self._harvest()
        self._waiting = {number: collections.deque() for number in gained.partitions}
        self._positions = {number: self._sought.get(number, start) for number, start in starts.items()}
        for number, position in self._positions.items():
            member.seek(number, position)
        for number in self._paused & set(gained.partitions):
            member.pause(number)
        member.hold()
        self._told, self._ever_told, self._sought, self._silent_seconds = gained, True, {}, 0.0
        try:
            await self._listener.on_assigned({number: commits.get(number) for number in gained.partitions})
        except BaseException:
            # Half told: taken back and told again by the next poll.
            self._told = kafka_member.Assignment(partitions=gained.partitions, by=gained.by)
            raise

    async def _wait(self, seconds: float) -> None:
        """For the member's work, or for news."""
        if self._member is None:
            return
        began = _now()
        news = asyncio.create_task(self._news.wait())
        try:
            await asyncio.wait({self._member.work, news}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
        self._silent_seconds += _now() - began
        self._harvest()
        failure, self._failure = self._failure, None
        if failure:
            await self._survive(failure)

    def _harvest(self) -> None:
        """Take over what the client has handed out; what was read for an assignment that isn't told is read again."""
        if self._member is None:
            return
        try:
            fetched = self._member.take()
        except Exception as failure:
            self._failure = failure
            return
        for place, found in fetched.items():
            if self._told is not None and self._told is self._member.assignment:
                self._waiting[place.partition] += found

    def _take(self, max_bytes: int) -> list[port.Record]:
        """An equal share of each partition that has something, beginning with another one each time."""
        ready = [number for number in sorted(self._waiting) if self._waiting[number] and number not in self._paused]
        if not ready or self._member is None or self._told is not self._member.assignment:
            return []
        self._turn += 1
        ready = ready[self._turn % len(ready) :] + ready[: self._turn % len(ready)]
        taken: list[port.Record] = []
        held = 0
        for done, number in enumerate(ready, 1):
            while self._waiting[number]:
                size = self._size(self._waiting[number][0])
                if taken and held + size > max_bytes * done // len(ready):
                    break
                try:
                    taken.append(self._as_record(number, self._waiting[number][0]))
                except port.DamagedLogError:
                    if taken:
                        return taken
                    raise
                held += size
                self._waiting[number].popleft()
                self._positions[number] = taken[-1].end
        return taken

    def _size(self, item: Any) -> int:
        return self._reading.size(item) if self._reading else len(item.value or b"")

    def _as_record(self, number: int, item: Any) -> port.Record:
        if isinstance(item, port.Record):
            return item
        if self._reading:
            return self._reading.record(number, item)
        return records.to_record(self._topic, item.partition, item.offset, item.timestamp, item.value, item.headers)

    async def _survive(self, failure: Exception) -> None:
        """The client tells of the group's troubles here. Most pass; a gap is the lane's business; the rest needs a new member."""
        match failure:
            case errors.OffsetOutOfRangeError():
                for place, offset in dict(failure.args[0]).items():
                    if not self._waiting.get(place.partition) and self._positions.get(place.partition, offset + 1) <= offset:
                        raise port.OffsetOutOfRangeError(f"{self._topic}/{place.partition}: offset {offset} is not in the log")
            case errors.NoOffsetForPartitionError():
                pass  # Its position is about to be set.
            case port.LogUnavailableError():
                raise failure
            case errors.CorruptRecordException():
                if not await self._read_beside(sorted(self._waiting)):
                    raise port.DamagedLogError(f"{self._topic}: {failure}")
            case _ if self._member and self._member.broken:
                self._retire()
                await asyncio.sleep(_RETRY_SECONDS)
                if self._told is None:
                    raise port.LogUnavailableError(f"Kafka: joining {self._group}: {failure!r}") from failure
            case errors.KafkaError() if isinstance(failure, _REFUSED):
                raise port.LogUnavailableError(f"Kafka: {self._group}: {failure!r}") from failure
            case errors.KafkaError():
                await asyncio.sleep(_RETRY_SECONDS)
            case _:
                if not await self._read_beside(sorted(self._waiting)):
                    self._retire()

    async def _read_beside(self, partitions: Sequence[int]) -> bool:
        """Whether there is something to take after what this member can't hand out was read by other means, which say where
        somebody else's record stands. Raises DamagedLogError, where it is the first."""
        told = self._told
        if self._reading or told is None:
            return False
        _log.warning("read_beside", group=self._group, topic=self._topic, partitions=list(partitions))
        for number in [one for one in partitions if not self._waiting[one]]:
            position = self._positions[number]
            found = await self._client.fetch(self._topic, self._name, number, position, kafka_settings.MESSAGE_BYTES)
            if self._told is not told or self._waiting[number] or self._positions[number] != position:
                return True
            self._waiting[number] += found
        # What the member had in hand for the others may be gone with its failure.
        for number in partitions:
            if self._member:
                last = self._waiting[number][-1] if self._waiting[number] else None
                self._member.seek(number, self._positions[number] if last is None else last.offset + 1)
        return any(self._waiting[number] for number in partitions)

    async def _watch(self) -> None:
        """A member can fall silent for good after the brokers were away, or wait for ever for a group to form."""
        patience = self._settings.patience
        if self._silent_seconds < patience.progress + (patience.rebalance if self._told is None else 0.0):
            return
        self._silent_seconds = 0.0
        readable = set(self._positions) - self._paused
        behind = [number for number in readable if (await self._client.bounds(self._name, number)).end > self._positions[number]]
        if self._told is not None and not behind:
            self._replaced = False
            return
        again, self._replaced = self._replaced, True
        if again and await self._read_beside(behind):
            self._replaced = False
            return
        self._retire()
        if again:
            what = (
                f"no records of {self._topic}/{sorted(behind)} come though there are some"
                if behind
                else "the group does not form"
            )
            raise port.LogUnavailableError(f"Kafka: {self._group}: {what}; are all brokers up?")

    def _check_open(self) -> None:
        if self._ended:
            raise port.LogError(f"group {self._group} on {self._topic}: the subscription is closed")

    def _check_known(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            if not 0 <= partition < self._settings.partitions:
                raise port.LogError(
                    f"{self._topic}/{partition}: this log has the partitions 0 to {self._settings.partitions - 1}"
                )


def _now() -> float:
    return asyncio.get_running_loop().time()
