"""While nothing may be read, a member of a group still polls: else the group takes it for dead, and nobody hears of a
revocation."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from penstock.log import port

_LOOK_SECONDS = 0.5


class RevokedError(Exception):
    """While it was waited for, the partition went to another process: what was read of it is that one's."""


class Hold:
    """Of one subscription, from the task that polls. `active` while it is held: partitions that come meanwhile are held too."""

    def __init__(self, partitions: Sequence[int]) -> None:
        self._partitions = partitions
        self.active = False

    async def until(
        self, subscription: port.Subscription, free: Callable[[], bool], freed: Callable[[], Awaitable[object]]
    ) -> None:
        """Return when `free`; `freed` waits for that. Raises what `poll` raises."""
        while not free():
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await freed()
            except TimeoutError:
                self.active = True
                subscription.pause(self._partitions)
                with contextlib.suppress(port.LogUnavailableError):
                    await subscription.poll(max_bytes=1, timeout_seconds=0.0)
        if self.active:
            self.active = False
            subscription.resume(self._partitions)

    def extend(self, subscription: port.Subscription | None) -> None:
        """Partitions were assigned."""
        if self.active and subscription is not None:
            subscription.pause(self._partitions)
