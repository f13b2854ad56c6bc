"""Somebody else's topic, which is only read: no group, no commit, nothing written.

By place, as the port reads a log without a group, so what was seen once can be read again for its value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiokafka import structs

from penstock.core import dialects
from penstock.log import port
from penstock.log.kafka import client as kafka_client
from penstock.log.kafka import settings as kafka_settings


class StrayTopic:
    """One topic of one cluster. Records of transactions that were given up are left out, and so is what follows an open one."""

    def __init__(self, name: str, client: kafka_client.Client, found: kafka_client.Topic) -> None:
        self.name = name
        self.topic_id = found.identity
        """Kafka's own: another one when the topic is made again."""
        self.partitions = len(found.leaders)
        self._client = client

    @classmethod
    async def open(cls, name: str, *, bootstrap: str, security: kafka_settings.Security) -> StrayTopic:
        """Raises LogError when the cluster can't be reached or has no such topic."""
        settings = kafka_settings.Settings(bootstrap=bootstrap, prefix="", partitions=0, security=security)
        client = kafka_client.Client(settings)
        await client.open()
        try:
            found = await client.topic(name)
            if found is None:
                raise port.LogError(f"there is no topic {name} at {bootstrap}: check the name, and that this user may read it")
            return cls(name, client, found)
        except BaseException:
            await client.close()
            raise

    async def bounds(self, partition: int) -> port.Bounds:
        return await self._client.bounds(self.name, partition)

    async def read(self, partition: int, offset: int) -> tuple[Sequence[dialects.Stray], int]:
        """Some records from `offset` on, and the offset to go on from, which is the same one at the end."""
        found, following = await self._client.fetch_settled(self.name, partition, offset)
        return [self._stray(partition, one) for one in found], following

    async def close(self) -> None:
        await self._client.close()

    def _stray(self, partition: int, record: structs.ConsumerRecord[Any, Any]) -> dialects.Stray:
        return dialects.Stray(
            topic=self.name,
            topic_id=self.topic_id,
            partition=partition,
            offset=record.offset,
            timestamp_microseconds=record.timestamp * 1_000,
            key=record.key,
            value=record.value,
            headers=record.headers,
        )
