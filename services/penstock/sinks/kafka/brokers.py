"""Where the brokers are and who we are to them, as it is now; and questions to them about topics."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from aiokafka import admin, conn, errors
from aiokafka.admin import config_resource

from penstock.log.kafka import connection
from penstock.log.kafka import settings as kafka_settings
from penstock.sinks import certificates, tables
from penstock.sinks.kafka import failures

_ABSENT = errors.UnknownTopicOrPartitionError.errno
_THERE_ALREADY = errors.TopicAlreadyExistsError.errno

# A topic that was made shows itself a moment later.
_LOOKS, _LOOK_SECONDS = 100, 0.05
_CLOSE_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Brokers:
    """`password` and the texts of `tls` are read with each new connection: a renewed secret needs no restart."""

    bootstrap: Sequence[str]
    mechanism: kafka_settings.Mechanism | None = None
    user: str = ""
    password: Callable[[], str] | None = None
    tls: certificates.Tls | None = None
    request_seconds: float = 10.0

    def told(self) -> dict[str, Any]:
        """What the client's classes are told. Raises SinkError (config) for a secret that isn't there."""
        login = None
        if self.mechanism and self.password:
            login = kafka_settings.Login(mechanism=self.mechanism, user=self.user, password=self.password())
        security = kafka_settings.Security(tls=self.tls.context() if self.tls else None, login=login)
        return connection.told(",".join(self.bootstrap), security, self.request_seconds)

    @property
    def place(self) -> str:
        """For messages."""
        return f"Kafka at {', '.join(self.bootstrap)}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """As the cluster has it. `replicas`: the fewest that a partition has; `max_bytes`: of one batch of records."""

    partitions: int
    replicas: int
    min_in_sync: int
    max_bytes: int
    compacted: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NewTopic:
    """What a topic that is made gets; None is the cluster's default."""

    partitions: int | None = None
    replicas: int | None = None


async def topic(brokers: Brokers, name: str, seconds: float) -> Topic | None:
    """None when there is none. Raises SinkError."""
    async with _asked(brokers, f"describing topic {name}", seconds) as client:
        return await _topic(client, name)


async def create(brokers: Brokers, name: str, new: NewTopic, seconds: float) -> Topic:
    """Make it, unless somebody else was faster. Raises SinkError."""
    async with _asked(brokers, f"making topic {name}", seconds) as client:
        partitions, replicas = new.partitions, new.replicas
        if partitions is None or replicas is None:
            usual = await _defaults(client)
            partitions = partitions or int(usual.get("num.partitions") or 1)
            replicas = replicas or int(usual.get("default.replication.factor") or 1)
        response = await client.create_topics([admin.NewTopic(name, partitions, replicas)])
        for _, code, message, *_ in response.topic_errors:
            if code not in (0, _THERE_ALREADY):
                raise errors.for_code(code)(message or "")
        for _ in range(_LOOKS):
            if found := await _topic(client, name):
                return found
            await asyncio.sleep(_LOOK_SECONDS)
        raise errors.LeaderNotAvailableError(name)


@contextlib.asynccontextmanager
async def _asked(brokers: Brokers, what: str, seconds: float) -> AsyncIterator[admin.AIOKafkaAdminClient]:
    what = f"{brokers.place}: {what}"
    client = admin.AIOKafkaAdminClient(**brokers.told())
    try:
        async with asyncio.timeout(seconds):
            await client.start()
            yield client
    except TimeoutError:
        raise tables.unavailable("UNAVAILABLE", f"{what}: no answer within {seconds:.0f} s") from None
    except (errors.KafkaError, OSError) as error:
        raise failures.as_error(await reason(brokers, error), what) from error
    finally:
        with contextlib.suppress(TimeoutError, errors.KafkaError, OSError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await client.close()


async def reason(brokers: Brokers, error: BaseException) -> BaseException:
    """What lies behind "no broker could be reached", of which the client keeps only that: what the first of them says."""
    if not isinstance(error, errors.KafkaConnectionError):
        return error
    told = brokers.told()
    hosts = told.pop("bootstrap_servers").split(",")
    host, _, port = hosts[0].rpartition(":")
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            (await conn.create_conn(host, int(port), **told)).close()
    except (errors.KafkaError, OSError, TimeoutError) as found:
        error = found
    return error


async def _topic(client: admin.AIOKafkaAdminClient, name: str) -> Topic | None:
    [found] = await client.describe_topics([name])
    if found["error_code"] == _ABSENT:
        return None
    if error := failures.for_code(found["error_code"]):
        raise error
    partitions = found["partitions"]
    configs = await _configs(client, config_resource.ConfigResourceType.TOPIC, name)
    return Topic(
        partitions=len(partitions),
        replicas=min(len(one["replicas"]) for one in partitions),
        min_in_sync=int(configs.get("min.insync.replicas") or 1),
        max_bytes=int(configs.get("max.message.bytes") or 1 << 20),
        compacted="compact" in (configs.get("cleanup.policy") or ""),
    )


async def _defaults(client: admin.AIOKafkaAdminClient) -> Mapping[str, str | None]:
    """A broker's settings: of all versions of the request that makes a topic only later ones have "as the broker likes"."""
    cluster = await client.describe_cluster()
    return await _configs(client, config_resource.ConfigResourceType.BROKER, str(cluster["brokers"][0]["node_id"]))


async def _configs(
    client: admin.AIOKafkaAdminClient, kind: config_resource.ConfigResourceType, name: str
) -> Mapping[str, str | None]:
    """Empty where this user may not look."""
    answers = await client.describe_configs([config_resource.ConfigResource(kind, name)])
    entries = [entry for answer in answers for _, _, _, _, entries in answer.resources for entry in entries]
    return {entry[0]: entry[1] for entry in entries}
