"""The events of the jobs and the rows they must make, worked out by the plain references.

Ids are random; a smaller workload is the beginning of a larger one.
"""

from __future__ import annotations

import json
import pathlib
import random
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from benchmarks import events
from benchmarks.references import mapping, pipeline

_MOST_ITEMS = 10
_TYPES = ("view", "click", "purchase")


def clicks(count: int) -> Iterator[bytes]:
    """Clickstream events of some 250 bytes; one in ten is there twice."""
    return events.with_duplicates(count)


def arrays(count: int) -> Iterator[bytes]:
    """Events of some 330 bytes with arrays of none to ten items, five on average."""
    rng = random.Random(7)
    for number in range(count):
        minute, second = divmod(number // 500 % 86_400, 60)
        hour, minute = divmod(minute, 60)
        items = ",".join(events.item(rng) for _ in range(rng.randrange(_MOST_ITEMS + 1)))
        yield (
            f'{{"id":"{rng.getrandbits(128):032x}","user_id":{rng.randrange(50_000)},'
            f'"ts":"2026-01-01T{hour:02d}:{minute:02d}:{second:02d}.{number % 500 * 2:03d}Z",'
            f'"type":"{rng.choice(_TYPES)}","items":[{items}]}}'
        ).encode()


def landed(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    """What deduplicating, filtering and mapping the events of a file makes."""
    return pipeline.rows(path)


def exploded(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    """What exploding the arrays of a file makes; an empty one makes nothing. The record's key stands under `key`."""
    with path.open("rb") as lines:
        for row in mapping.explode(map(json.loads, lines), keep_empty=False):
            yield row | {"key": row["id"]}


def write_lines(path: pathlib.Path, documents: Iterable[bytes]) -> pathlib.Path:
    with path.open("wb") as file:
        file.writelines(document + b"\n" for document in documents)
    return path


def write_rows(path: pathlib.Path, rows: Iterable[dict[str, Any]]) -> pathlib.Path:
    encoder = msgspec.json.Encoder()
    return write_lines(path, map(encoder.encode, rows))
