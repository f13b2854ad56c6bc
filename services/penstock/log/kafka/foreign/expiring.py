"""How much of what the source's topics keep has been used up by what a lane has not read: the edge of `core.expiry`."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

from penstock.core import expiry
from penstock.core.records import layout
from penstock.log import port
from penstock.log.kafka import client as kafka_client
from penstock.log.kafka.foreign import desk, pages, places

Page = Callable[[int, int], Awaitable[pages.Page | None]]
"""Some records of a partition from an offset on."""


class Expiring:
    """Over a client that somebody else opens and closes. Settings are read at each question: they may be changed at any time."""

    def __init__(self, client: kafka_client.Client, divided: places.Places, told: desk.Desk, page: Page) -> None:
        self._client, self._places, self._desk, self._page = client, divided, told, page

    async def used(self, finished: Mapping[int, int]) -> float:
        """The worst of the partitions. `finished`: by number, the lowest offset that isn't. Raises LogError."""
        keeps = {name: expiry.kept(await self._client.configs(name)) for name in self._places.topics}
        sizes = await self._sizes(keeps)
        shares = [0.0]
        for number, offset in finished.items():
            if place := self._places.place(number):
                unread = await self._unread(number, offset, sizes.get((place.topic, place.partition)))
                shares.append(expiry.used(keeps[place.topic], unread))
        return max(shares)

    async def _unread(self, number: int, offset: int, size: int | None) -> expiry.Unread:
        bounds = await self._desk.bounds("", number)
        there = bounds.start <= offset < bounds.end
        page = await self._page(number, offset) if there else None
        stamp = int(layout.integers(page.rows, layout.TIMESTAMP)[0]) if page and page.rows.num_rows else -1
        age = time.time() - stamp / 1_000 if stamp >= 0 else None
        return expiry.Unread(start=bounds.start, next=offset, end=bounds.end, age_seconds=age, partition_bytes=size)

    async def _sizes(self, keeps: Mapping[str, expiry.Kept]) -> Mapping[tuple[str, int], int]:
        """Asked only where a topic is bounded by size; a user who may not ask is told by age alone."""
        bounded = [name for name, one in keeps.items() if one.bytes is not None]
        try:
            return await self._client.sizes(bounded) if bounded else {}
        except port.LogUnavailableError:
            raise
        except port.LogError:
            return {}
