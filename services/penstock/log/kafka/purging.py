"""Taking a log away for good: its topics, and with them every position in them.

Topics are deleted by the names that this release and earlier ones give them, never by whatever else begins alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka import errors

from penstock.log import port
from penstock.log.kafka import client, topics
from penstock.log.kafka import settings as kafka_settings

_OURS = (port.EVENTS, port.DEAD_LETTERS, port.OUTCOMES, port.ACCEPTED, "snapshots")
_REPLAYS = port.replay_topic("")
_LOOKS = 100
_LOOK_SECONDS = 0.2


class Topics(client.Client):
    """The cluster as somebody sees it who takes topics away."""

    async def names(self, prefix: str) -> list[str]:
        """Of the topics that begin so."""
        found = await self._ask("listing topics", self._admin.list_topics)
        return sorted(name for name in found if name.startswith(prefix))

    async def delete(self, name: str) -> None:
        """With all it holds; one that is gone already is fine."""
        response = await self._ask(f"deleting {name}", lambda: self._admin.delete_topics([name]))
        for _, code, *_ in response.topic_error_codes:
            if code not in (0, errors.UnknownTopicOrPartitionError.errno):
                raise port.LogError(f"Kafka: deleting {name}: {errors.for_code(code).__name__}")

    async def members(self, group_name: str) -> int:
        """How many a group has now."""
        answers = await self._ask(f"describing {group_name}", lambda: self._admin.describe_consumer_groups([group_name]))
        return sum(len(one[5]) for answer in answers for one in answer.groups)


async def purge(settings: kafka_settings.Settings, groups: Sequence[str], *, confirmed: bool) -> list[str]:
    """The topics, deleted if `confirmed`. `groups` are the lanes, which must have no reader.

    Raises GroupInUseError, LogError.
    """
    asked = Topics(settings)
    await asked.open()
    try:
        prefix = topics.topic_name(settings.prefix, "")
        found = [name for name in await asked.names(prefix) if is_ours(name.removeprefix(prefix))]
        for group in groups:
            for topic in (port.EVENTS, port.replay_topic(group.rpartition("/")[2])):
                name = topics.group_name(settings.prefix, group, topic)
                if await asked.members(name):
                    raise port.GroupInUseError(f"{name} has members: processes of the pipeline run")
        if confirmed:
            await _delete(asked, prefix, found)
        return found
    finally:
        await asked.close()


async def _delete(asked: Topics, prefix: str, names: Sequence[str]) -> None:
    """Return when no broker tells of them any more, which may be a moment after they are deleted."""
    for name in names:
        await asked.delete(name)
    for _ in range(_LOOKS):
        left = sorted(set(names) & set(await asked.names(prefix)))
        if not left:
            return
        await asyncio.sleep(_LOOK_SECONDS)
    raise port.LogError(f"Kafka: {', '.join(left)}: deleted, and there again; somebody makes it anew, such as a pod that runs")


def is_ours(topic: str) -> bool:
    """Whether a log has a topic of this name, which stands without its prefix."""
    return topic in _OURS or (topic.startswith(_REPLAYS) and len(topic) > len(_REPLAYS))
