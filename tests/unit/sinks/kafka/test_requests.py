"""Produce requests encoded with one copy are those that the client encodes."""

import asyncio
import types

import pytest
from aiokafka.protocol import produce

from penstock.sinks.kafka import batches, requests

TOPICS = [("a", [(0, b"first"), (3, bytearray(b"second"))]), ("\u00e9", [(1, b""), (2, None)]), ("empty", [])]
VERSIONS = [getattr(produce, f"ProduceRequest_v{version}") for version in range(9)]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: f"v{version.API_VERSION}")
@pytest.mark.parametrize("transaction", [None, "t"])
def test_a_request_is_the_same_to_the_byte(version, transaction):
    """Catches a length or a null that is written otherwise, in any version a broker may ask for."""
    told = {"required_acks": -1, "timeout": 30_000, "topics": TOPICS}
    if "transactional_id" in version.SCHEMA.names:
        told["transactional_id"] = transaction
    made = version(**told)
    whole = made.encode()
    flat = requests.encoded(made)
    message = b"header" + flat
    assert (len(flat), len(message)) == (len(whole), len(whole) + 6)
    assert b"size" + message == b"sizeheader" + whole


def test_a_batch_in_two_pieces_is_sent_as_one():
    """Catches a batch that the broker takes for a shorter one."""
    version = produce.ProduceRequest_v7
    told = {"transactional_id": None, "required_acks": -1, "timeout": 30_000}
    split = version(**told, topics=[("a", [(0, batches.Framed(header=b"head", records=b"records"))])])
    whole = version(**told, topics=[("a", [(0, b"headrecords")])])
    assert b"size" + (b"header" + requests.encoded(split)) == b"sizeheader" + whole.encode()


def test_a_producers_requests_go_that_way_and_others_as_they_were(monkeypatch):
    """Catches a client whose requests are not touched, an answer that is lost on the way, and one that all requests of a
    process are changed for."""
    sent = []

    async def send(node_id, request, *, group="default"):
        sent.append((node_id, request, group))
        return "answer"

    producer = types.SimpleNamespace(client=types.SimpleNamespace(send=send))
    requests.copy_once(producer)
    mine, other = (produce.ProduceRequest(None, -1, 1_000, TOPICS) for _ in range(2))
    plain = object()

    async def both():
        return [await producer.client.send(7, mine), await producer.client.send(8, plain, group="other")]

    assert asyncio.run(both()) == ["answer", "answer"]
    assert sent == [(7, mine, "default"), (8, plain, "other")]
    flat = []
    monkeypatch.setattr(requests, "encoded", lambda made: flat.append(made) or b"flat")
    versions = {produce.ProduceRequest.API_KEY: (0, 7)}
    assert mine.prepare(versions).encode() == b"flat"
    assert other.prepare(versions).encode() != b"flat"
    assert len(flat) == 1
