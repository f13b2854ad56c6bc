"""What an operator of the brokers can see and change: who leads, who coordinates a group, how a topic is set."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from aiokafka import admin
from aiokafka.admin import config_resource

T = TypeVar("T")


def leaders(bootstrap: Sequence[str], topic: str) -> list[int]:
    """The brokers that lead a partition of it, the busiest first."""

    async def ask(client: admin.AIOKafkaAdminClient) -> list[int]:
        (found,) = await client.describe_topics([topic])
        led = [partition["leader"] for partition in found["partitions"]]
        return sorted(set(led), key=led.count, reverse=True)

    return _asked(bootstrap, ask)


def fewest_in_sync(bootstrap: Sequence[str], topic: str) -> int:
    """Of its partitions: how many copies of the one with the fewest have everything."""

    async def ask(client: admin.AIOKafkaAdminClient) -> int:
        (found,) = await client.describe_topics([topic])
        return min(len(partition["isr"]) for partition in found["partitions"])

    return _asked(bootstrap, ask)


def coordinator(bootstrap: Sequence[str], group: str) -> int:
    """The broker that coordinates the group."""
    return int(_asked(bootstrap, lambda client: client.find_coordinator(group)))


def set_topic(bootstrap: Sequence[str], topic: str, settings: Mapping[str, str]) -> None:
    """Change settings of a topic; what is not named goes back to the brokers' own."""
    resource = config_resource.ConfigResource(config_resource.ConfigResourceType.TOPIC, topic, configs=dict(settings))
    _asked(bootstrap, lambda client: client.alter_configs([resource]))


def _asked(bootstrap: Sequence[str], ask: Callable[[Any], Awaitable[T]]) -> T:
    async def run() -> T:
        client = admin.AIOKafkaAdminClient(bootstrap_servers=list(bootstrap))
        await client.start()
        try:
            return await ask(client)
        finally:
            await client.close()

    return asyncio.run(run())
