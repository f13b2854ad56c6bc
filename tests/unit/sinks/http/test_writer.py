"""The HTTP writer without a network: its time, and what it says of itself."""

from __future__ import annotations

import pytest
from tests.unit.sinks import writes

from penstock.core import delivery, results
from penstock.sinks import port
from penstock.sinks.http import answers, client, writer


class Refusing:
    """Stands in for the client: each request is refused and remembered."""

    def __init__(self) -> None:
        self.requests: list[client.Request] = []

    async def send(self, request: client.Request) -> answers.Answer:
        self.requests.append(request)
        return answers.Answer(place="http://hook", status=422, headers={}, body="no")

    async def close(self) -> None: ...


def made(*, timeout_seconds: float = 2.0, idempotency_header: str | None = None) -> writer.HttpWriter:
    endpoint = writer.Endpoint(
        url="http://hook/secret-path",
        method="POST",
        format=writer.Format.NDJSON,
        headers=(),
        idempotency_header=idempotency_header,
        codes=answers.Codes(data=frozenset({422}), split=frozenset()),
    )
    return writer.HttpWriter(endpoint, concurrency=3, timeout_seconds=timeout_seconds)


async def test_all_requests_of_a_write_share_its_time_and_leave_some_for_the_answer(monkeypatch):
    """Catches a search that takes the time of a write for each of its requests: the lane gives up and forgets what landed."""
    hook, refusing = made(timeout_seconds=2.0), Refusing()
    monkeypatch.setattr(hook, "_client", refusing)
    await hook.write(writes.batch(writes.numbered(0, 4), writes.span(0, 4)))
    seconds = [request.seconds for request in refusing.requests]
    assert len(seconds) == 7
    assert seconds[0] <= 1.8
    assert seconds == sorted(set(seconds), reverse=True)


async def test_nothing_is_sent_when_there_is_no_time(monkeypatch):
    """Catches a request whose answer nobody waits for."""
    hook, refusing = made(timeout_seconds=0.0), Refusing()
    monkeypatch.setattr(hook, "_client", refusing)
    with pytest.raises(port.SinkError, match="TIMEOUT"):
        await hook.write(writes.batch(writes.numbered(0, 4), writes.span(0, 4)))
    assert refusing.requests == []


@pytest.mark.parametrize(("header", "said"), [(None, "set http.idempotencyHeader"), ("X-Key", "X-Key")])
async def test_delivery_is_at_least_once_and_the_reason_says_what_helps(header, said):
    """Catches a promise that no endpoint keeps."""
    told = await made(idempotency_header=header).describe(writes.LANE, "hook", writes.numbered(0, 0).schema)
    assert (told.identity, told.max_concurrency) == (delivery.Identity.NONE, 3)
    assert said in told.identity_reason


async def test_a_question_is_refused_without_showing_the_path():
    """Catches the part of an address that is a secret in an error."""
    with pytest.raises(port.SinkError, match="http://hook takes rows") as caught:
        await made().query("SELECT 1")
    assert caught.value.failure.result_class is results.ResultClass.CONFIG
    assert "secret-path" not in str(caught.value)
