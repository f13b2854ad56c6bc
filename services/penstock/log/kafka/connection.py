"""How every one of the client's classes is told where the brokers are, and how a producer is ended for certain.

Here and not beside the log's own connections, because the Kafka sink's producer is made and ended in the same way.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Collection, Iterable
from typing import Any

import aiokafka
from aiokafka import errors
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import collect_hosts, create_conn

from penstock.log.kafka import settings as kafka_settings

CLIENT_ID = "penstock"
REJECTED = "it refuses these credentials"
"""How `refusal` begins what it says of a broker that is there."""
_CANCEL_SECONDS = 0.1


def told(bootstrap: str, security: kafka_settings.Security, request_seconds: float) -> dict[str, Any]:
    """The arguments that all classes share."""
    now = security.now()
    found: dict[str, Any] = {
        "bootstrap_servers": bootstrap,
        "client_id": CLIENT_ID,
        "request_timeout_ms": int(request_seconds * 1_000),
        "security_protocol": now.protocol,
        "ssl_context": now.tls,
    }
    if login := now.login:
        found |= {
            "sasl_mechanism": login.mechanism.value,
            "sasl_plain_username": login.user,
            "sasl_plain_password": login.password,
        }
    return found


def keep_renewed(client: AIOKafkaClient, security: kafka_settings.Security) -> None:
    """Let each connection that this client makes from now on show what it must show by then; open ones stay as they are."""
    if security.renewed:
        client.__class__, client.renewed_security = _Renewed, security


class _Renewed(AIOKafkaClient):
    """The client looks at these two whenever it connects, and has no public way to change them."""

    renewed_security: kafka_settings.Security

    @property
    def _ssl_context(self) -> ssl.SSLContext | None:
        return self.renewed_security.now().tls

    @property
    def _sasl_plain_password(self) -> str | None:
        login = self.renewed_security.now().login
        return login.password if login else None


async def refusal(bootstrap: str, security: kafka_settings.Security, request_seconds: float) -> str:
    """Why none of the brokers can be asked: the client itself says only that none can. Empty when one answers after all."""
    found = []
    settings = told(bootstrap, security, request_seconds)
    del settings["bootstrap_servers"]
    for host, port, _ in collect_hosts(bootstrap):
        try:
            (await create_conn(host, port, **settings)).close()
            return ""
        except (OSError, errors.KafkaError, TimeoutError) as error:
            found.append(f"{host}:{port}: {_said(error)}")
    return "; ".join(found)


def _said(error: Exception) -> str:
    if isinstance(error, errors.AuthenticationFailedError | errors.SaslAuthenticationFailed):
        return f"{REJECTED}: {error}"
    if isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError):
        return f"{REJECTED}, or its certificate is not trusted here: {error}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or repr(error)


async def abandon(producer: aiokafka.AIOKafkaProducer, seconds: float) -> None:
    """End it for certain. `stop` would wait for what can't be sent, and given up on, leave a task that sends it later.

    Whatever still waits for an answer fails with a KafkaConnectionError: it may have landed.
    """
    sender = producer._sender  # noqa: SLF001 - the client has no public way
    task = sender.sender_task if sender else None
    producer._closed = True  # noqa: SLF001 - else it complains when it is collected
    try:
        await end(producer.client, [task] if task else [], seconds)
    finally:
        _fail_unsent(producer)


def _fail_unsent(producer: aiokafka.AIOKafkaProducer) -> None:
    accumulator = producer._message_accumulator  # noqa: SLF001
    batches = [batch for waiting in accumulator._batches.values() for batch in waiting]  # noqa: SLF001
    accumulator._pending_batches.update(batches)  # noqa: SLF001 - of those that were sent once, it takes them out again
    accumulator.fail_all(errors.KafkaConnectionError("the producer was replaced"))
    for batch in batches:
        if batch._drain_waiter.done():  # noqa: SLF001
            batch._drain_waiter.exception()  # noqa: SLF001 - else it complains when it is collected


async def end(client: AIOKafkaClient, tasks: Iterable[asyncio.Task[Any]], seconds: float) -> None:
    """End one of the client's connections with the tasks that use them, at once: nothing is sent after this returns.

    Its own `close` waits for what is in the buffers to leave, and a task that is just connecting would leave a connection behind.
    """
    connections, client._conns = list(client._conns.values()), _Closed()  # noqa: SLF001
    told_of_metadata = asyncio.get_running_loop().create_future()
    told_of_metadata.set_result(False)
    waiting, client._md_update_fut = client._md_update_fut, told_of_metadata  # noqa: SLF001
    if waiting and not waiting.done():
        waiting.set_result(False)
    closed = [_abort(connection) for connection in connections]
    sync, client._sync_task = client._sync_task, None  # noqa: SLF001
    await _cancel({*tasks, *([sync] if sync else [])}, seconds)
    if ending := [future for future in closed if future and not future.done()]:
        await asyncio.wait(ending, timeout=seconds)


class _Closed(dict[Any, Any]):
    """In place of a client's connections: one that comes too late is closed."""

    def __setitem__(self, key: Any, connection: Any) -> None:
        _abort(connection)
        raise errors.KafkaConnectionError("this client has ended")


def _abort(connection: Any) -> asyncio.Future[None] | None:
    """`close` alone would first send what is in the buffer, when the broker takes it. Answers what tells that it is closed."""
    writer = connection._writer  # noqa: SLF001
    closed: asyncio.Future[None] | None = connection.close()
    if writer:
        writer.transport.abort()
    return closed


async def _cancel(tasks: Collection[asyncio.Task[Any]], seconds: float) -> None:
    """Until they are done: a first cancel may only reach the task that one of them waits for."""
    deadline = asyncio.get_running_loop().time() + seconds
    while (pending := {task for task in tasks if not task.done()}) and asyncio.get_running_loop().time() < deadline:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=_CANCEL_SECONDS)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()  # Else it complains when it is collected.
