"""The pipeline that the faults happen to, the events it is sent, and what each of them should make.

Pure but for the random numbers it is given. What an event should make is worked out here, from the event alone and in plain
Python: it shares no code with what makes it.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from typing import Any

import msgspec

from e2e.checker import history

NAMESPACE, NAME, TABLE = "chaos", "orders", "orders"
COLUMNS = ("id", "customer", "region", "item_no", "item", "doubled")
WAREHOUSE, ARCHIVE, HOOK = "warehouse", "archive", "hook"
_LONG_ARRAY = 300

# NOT NULL in a table that was there before: the store itself refuses rows without a region.
TABLE_SQL = f"""
CREATE TABLE {TABLE} (
    id VARCHAR, customer BIGINT, region VARCHAR NOT NULL, item_no BIGINT, item BIGINT, doubled BIGINT, shard BIGINT
)
"""

_PIPELINE = """
apiVersion: penstock.dev/v1alpha1
kind: BatchPipeline
metadata: {name: orders, namespace: chaos}
spec:
  log: {type: Embedded, embedded: {partitions: 2}}
  source: {type: Ingest, ingest: {partitionBy: [customer]}}
  schema:
    fields:
      - {name: id, type: String, required: true}
      - {name: customer, type: Int64, required: true}
      - {name: region, type: String}
      - {name: note, type: String}
      - {name: items, type: List, element: {type: Int64}}
  deduplicate: {key: [customer, id], windowSeconds: 14400}
  transform:
    explode: {field: items, as: item, indexAs: item_no}
    filter: {expression: "note is null or note <> 'drop'"}
    select:
      - {name: id}
      - {name: customer}
      - {name: region}
      - {name: item_no}
      - {name: item}
      - {name: doubled, value: "cast(note as bigint) * 2"}
      - {name: shard, value: "customer % 2"}
  sinks:
    - name: warehouse
      type: DuckDB
      ordering: PerPartition
      duckDB: {path: store/orders.duckdb, table: orders}
      batching: {static: {rows: 60, lingerMilliseconds: 30}}
      retry: {initialBackoffMilliseconds: 20, maxBackoffMilliseconds: 500}
      circuitBreaker: {openSeconds: 1}
    - name: archive
      type: Files
      files: {url: "file://./store/archive", partition: [{name: shard}]}
      batching: {static: {rows: 60, lingerMilliseconds: 30}}
      retry: {initialBackoffMilliseconds: 20, maxBackoffMilliseconds: 500}
      circuitBreaker: {openSeconds: 1}
"""


def pipeline(*, hook: str = "", write_seconds: int = 0) -> str:
    """The pipeline object; with a third sink where `hook` is a URL."""
    told = msgspec.yaml.decode(_PIPELINE)
    if hook:
        told["spec"]["sinks"].append(
            {
                "name": HOOK,
                "type": "HTTP",
                "http": {"url": hook, "idempotencyHeader": "Idempotency-Key"},
                "batching": {"static": {"rows": 40, "lingerMilliseconds": 30}},
                "retry": {"initialBackoffMilliseconds": 20, "maxBackoffMilliseconds": 500},
                "circuitBreaker": {"openSeconds": 1},
            }
        )
    if write_seconds:
        for sink in told["spec"]["sinks"]:
            sink["writeTimeoutSeconds"] = write_seconds
    return msgspec.yaml.encode(told).decode()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An event to send: its bytes, and its line in the history as far as it is known before."""

    payload: bytes
    id: str
    key: str
    seq: int
    refused: bool
    sinks: dict[str, history.Expected]


class Maker:
    """The events of one client, each with an id and a sequence of its own."""

    def __init__(self, client: int, seed: int, *, regionless: float = 0.02, hook_refuses: float = 0.0) -> None:
        self._client, self._random = client, random.Random(f"{seed}/{client}")
        self._regionless, self._hook_refuses = regionless, hook_refuses
        self._seq = 0

    def next(self) -> Made:
        """Another event. Few are bad: more than a fifth would rightly pause a lane."""
        chance, self._seq = self._random, self._seq + 1
        kind = chance.random()
        event: dict[str, Any] = {
            "id": f"c{self._client}-{self._seq}",
            "customer": self._client * 10 + chance.randrange(3),
            "region": None if chance.random() < self._regionless else chance.choice(("eu", "us", 'it\'s "x"', "日本")),
            "note": _note(chance),
            "items": [chance.randrange(1000) for _ in range(chance.randrange(4))],
        }
        if kind < 0.005 and event["region"] and event["note"] != "boom":
            # One bad event with as many rows would be a flood of refusals, and pause the lane as it should.
            event["items"] = [chance.randrange(1000) for _ in range(_LONG_ARRAY)]
        if 0.03 < kind < 0.05:
            event["customer"] = "nobody"
        payload = msgspec.json.encode(event)
        refused = event["customer"] == "nobody"
        return Made(
            payload=payload,
            id=event["id"],
            key=f"{self._client}/{event['customer']}",
            seq=self._seq,
            refused=refused,
            sinks={} if refused else self._expected(event),
        )

    def _expected(self, event: dict[str, Any]) -> dict[str, history.Expected]:
        if event["note"] == "drop":
            return {}
        places = _places(event)
        if event["note"] == "boom":
            failed = history.Expected(letters=frozenset(map(str, places)))
            return dict.fromkeys((WAREHOUSE, ARCHIVE, HOOK), failed)
        rows = {str(place): history.digest(row(event, place)) for place in places}
        landed = history.Expected(rows=rows)
        refused = history.Expected(letters=frozenset(rows))
        return {
            WAREHOUSE: refused if event["region"] is None else landed,
            ARCHIVE: landed,
            HOOK: refused if self._hook_refuses and is_bad(event["id"], self._hook_refuses) else landed,
        }


def _note(chance: random.Random) -> str | None:
    kind = chance.random()
    if kind < 0.9:
        return None
    return "drop" if kind < 0.93 else "boom" if kind < 0.95 else str(chance.randrange(1000))


def _places(event: dict[str, Any]) -> range:
    """An array without items still makes a row."""
    return range(max(1, len(event["items"])))


def row(event: dict[str, Any], place: int) -> list[Any]:
    """The content of one row, by COLUMNS."""
    items, note = event["items"], event["note"]
    item = items[place] if items else None
    item_no = place if items else None
    return [event["id"], event["customer"], event["region"], item_no, item, None if note is None else int(note) * 2]


def is_bad(id_: str, share: float) -> bool:
    """Whether the endpoint of the HTTP sink refuses rows of this event; by the id, so that everybody agrees."""
    return random.Random(id_).random() < share


def mended(sinks: Mapping[str, history.Expected]) -> Mapping[str, history.Expected]:
    """As expected once the warehouse takes what it had refused, and its letters were replayed."""
    if not sinks or not sinks[WAREHOUSE].letters or not sinks[ARCHIVE].rows:
        return sinks
    return {**sinks, WAREHOUSE: history.Expected(rows=sinks[ARCHIVE].rows, letters=sinks[WAREHOUSE].letters)}
