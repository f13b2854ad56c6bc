"""The clients: each sends a batch until its outcome is known, writes down what it was told, and sends a tenth again later.

One thread each. A client never goes on before the outcome of its last request is known, which is what makes the order of
its events a promise.
"""

from __future__ import annotations

import collections
import http.client
import json
import pathlib
import random
import threading
import time
from collections.abc import Sequence
from typing import Protocol

import grpc

from e2e.chaos import events
from e2e.checker import history
from penstock.v1 import ingest_pb2, ingest_pb2_grpc

_PATIENCE_SECONDS = 20.0
_PAUSE_SECONDS = 0.05
_MOST_EVENTS = 12
_REMEMBERED = 200


class NotTakenError(Exception):
    """The request was certainly not taken."""


class UnknownError(Exception):
    """The request may have been taken."""


class Door(Protocol):
    """One way in."""

    def send(self, payloads: Sequence[bytes]) -> set[int]:
        """Indices that were refused one by one. Raises NotTakenError, UnknownError."""

    def close(self) -> None: ...


class HttpDoor:
    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._host, self._port = host, port
        self._connection: http.client.HTTPConnection | None = None

    def send(self, payloads: Sequence[bytes]) -> set[int]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._host, self._port, timeout=_PATIENCE_SECONDS)
            try:
                self._connection.connect()
            except OSError as error:
                self.close()
                raise NotTakenError(str(error)) from error
        try:
            self._connection.request(
                "POST", "/v1/events/batch", b"\n".join(payloads) + b"\n", {"Content-Type": "application/x-ndjson"}
            )
            reply = self._connection.getresponse()
            body = json.loads(reply.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise UnknownError(repr(error)) from error
        if reply.status in (202, 400) and "rejected" in body:
            return {int(one["index"]) for one in body["rejected"]}
        if reply.status == 429:
            raise NotTakenError(str(body))
        raise UnknownError(f"{reply.status} {body}")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


class GrpcDoor:
    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        # A channel that is shared process-wide keeps the back-off of every failed connect before it.
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 200))
        self._channel = grpc.insecure_channel(f"{host}:{port}", options=options)
        self._stub = ingest_pb2_grpc.IngestStub(self._channel)

    def send(self, payloads: Sequence[bytes]) -> set[int]:
        request = ingest_pb2.PublishRequest(documents=ingest_pb2.Documents(json=payloads))
        try:
            answer = self._stub.Publish(request, timeout=_PATIENCE_SECONDS)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise NotTakenError(str(error.details())) from error
            raise UnknownError(f"{error.code()} {error.details()}") from error
        if answer.HasField("refusal"):
            raise UnknownError(answer.refusal.message)
        return {one.index for one in answer.rejected}

    def close(self) -> None:
        self._channel.close()


class Client:
    """One client with its history in a file of its own."""

    def __init__(
        self, number: int, door: Door, path: pathlib.Path, maker: events.Maker, *, seed: int, pause: float, again: float
    ) -> None:
        self._door, self._maker, self._pause, self._again = door, maker, pause, again
        self._writer = history.Writer(path / f"client-{number}.jsonl")
        self._random = random.Random(f"{seed}/client/{number}")
        self._old: collections.deque[events.Made] = collections.deque(maxlen=_REMEMBERED)
        self._stop = threading.Event()
        self._give_up_at = float("inf")
        self._thread = threading.Thread(target=self._run, name=f"client-{number}", daemon=True)
        self.error: BaseException | None = None
        self.acknowledged = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self, patience_seconds: float) -> None:
        """Send nothing new; what was sent is sent on until its outcome is known or the patience is at its end."""
        self._give_up_at = time.monotonic() + patience_seconds
        self._stop.set()

    def join(self) -> None:
        """Wait for the end. Raises what the client could not cope with."""
        self._thread.join()
        self._door.close()
        self._writer.close()
        if self.error:
            raise self.error

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._send([self._maker.next() for _ in range(self._random.randint(1, _MOST_EVENTS))])
                self._stop.wait(self._pause * self._random.uniform(0.5, 1.5))
        except BaseException as error:
            self.error = error

    def _send(self, fresh: Sequence[events.Made]) -> None:
        """A batch, with some that were sent before: after the new ones, whose order is a promise."""
        again = (
            [one for one in self._old if self._random.random() < self._again * len(fresh) / len(self._old)] if self._old else []
        )
        batch = [*fresh, *again]
        while not self._attempt(batch):
            if time.monotonic() > self._give_up_at:
                return
            time.sleep(_PAUSE_SECONDS * self._random.uniform(0.5, 1.5))
        self._old.extend(one for one in fresh if not one.refused)

    def _attempt(self, batch: Sequence[events.Made]) -> bool:
        """Whether the outcome is known and good."""
        sent, refused = time.time(), set[int]()
        result: history.Result = "ok"
        try:
            refused = self._door.send([one.payload for one in batch])
        except NotTakenError:
            result = "fail"
        except UnknownError:
            result = "unknown"
        answered = time.time()
        self._writer.add(
            history.Sent(
                id=one.id,
                sha=history.sha(one.payload),
                sent=sent,
                answered=answered,
                result="fail" if index in refused else result,
                key=one.key,
                seq=one.seq,
                sinks=one.sinks,
            )
            for index, one in enumerate(batch)
        )
        wrong = [one.id for index, one in enumerate(batch) if result == "ok" and (index in refused) != one.refused]
        if wrong:
            raise AssertionError(f"the door judged these otherwise than they should be: {wrong}")
        self.acknowledged += len(batch) - len(refused) if result == "ok" else 0
        return result == "ok"
