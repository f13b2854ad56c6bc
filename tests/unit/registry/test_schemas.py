"""What is known of schema numbers, without a network: the registry is a table here."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from penstock.core.records.avro import columns, nodes
from penstock.log import port
from penstock.registry import client, schemas

RECORD = json.dumps({"type": "record", "name": "r", "fields": [{"name": "id", "type": "string"}]})


class Table:
    """Answers by number: a mapping is what the registry says, a status what it fails with."""

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    async def schema(self, number):
        self.asked.append(number)
        answer = self.answers.get(number, 404)
        if isinstance(answer, dict):
            return answer
        raise client.RegistryError(f"answered {answer}", answer)


def framed(*numbers):
    return pa.array([b"\x00" + number.to_bytes(4, "big") + b"\x02a" for number in numbers] + [None, b"{}", b""], pa.binary())


async def test_each_number_is_asked_for_once():
    """Catches a question per record."""
    table = Table({1: {"schema": RECORD}, 2: {"schema": RECORD}})
    known = schemas.Schemas(table)
    await known.learn_of(framed(1, 1, 2, 1))
    await known.learn_of(framed(2, 1))
    assert table.asked == [1, 2]
    assert all(isinstance(known.known[number], nodes.Node) for number in (1, 2))


@pytest.mark.parametrize("status", [None, 401, 403, 408, 429, 500, 503])
async def test_a_registry_that_is_away_is_waited_for(status):
    """Catches letters for records that could be read a minute later."""
    table = Table({1: status})
    known = schemas.Schemas(table)
    with pytest.raises(port.LogUnavailableError, match="wait in their topic"):
        await known.learn_of(framed(1))
    table.answers[1] = {"schema": RECORD}
    await known.learn_of(framed(1))
    assert isinstance(known.known[1], nodes.Node)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (404, "answered 404"),
        ({"schema": RECORD, "schemaType": "PROTOBUF"}, "PROTOBUF"),
        ({"schema": RECORD, "references": [{"name": "x"}]}, "refers to other schemas"),
        ({"schema": "[[["}, "can't be used"),
    ],
)
async def test_what_can_never_be_read_is_known_with_its_reason(answer, reason):
    """Catches a lane that waits for ever for a schema that does not exist."""
    known = schemas.Schemas(Table({5: answer}))
    await known.learn_of(framed(5))
    assert isinstance(known.known[5], columns.Missing)
    assert reason in known.known[5].reason
