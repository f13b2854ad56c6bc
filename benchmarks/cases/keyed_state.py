"""`keyed_state`: what each event finds of its key, a count and a last text, beside a dict that is asked event by event."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import case, events, stage
from penstock.core.state import spec, table

KEYS = 100_000
_PAGES = 500


class KeyedStateBench:
    """Both know most keys after the first block; every round goes on where the one before has ended."""

    def __init__(self, count: int) -> None:
        self._count, self._keys = count, min(KEYS, count)
        self._block_events = min(events.BLOCK_EVENTS, count)
        self._random = np.random.default_rng(5)
        self._pages = pa.array([f"/pages/{number}/index.html" for number in range(_PAGES)])
        values = (
            spec.Value(kind=spec.Kind.COUNT, column=pa.field("before", pa.int64())),
            spec.Value(kind=spec.Kind.LAST, column=pa.field("previous", pa.string()), field="page"),
        )
        self._table = table.StateTable(spec.StateSpec(key=("user",), max_keys=2 * self._keys, values=values))
        self._plain: dict[int, tuple[int, str]] = {}
        users = pa.array(np.arange(self._keys))
        pages = self._pages.take(pa.array(np.arange(self._keys) % _PAGES))
        first = pa.RecordBatch.from_arrays([users, pages], names=["user", "page"])
        self.product([first])
        self.reference([first])

    def inputs(self) -> list[pa.RecordBatch]:
        return [self._block() for _ in range(self._count // self._block_events)]

    def _block(self) -> pa.RecordBatch:
        users = pa.array(self._random.integers(0, self._keys, self._block_events))
        pages = self._pages.take(pa.array(self._random.integers(0, _PAGES, self._block_events)))
        return pa.RecordBatch.from_arrays([users, pages], names=["user", "page"])

    def product(self, inputs: list[pa.RecordBatch]) -> list[list[pa.Array]]:
        return [self._table.see(block, np.ones(block.num_rows, bool)) for block in inputs]

    def reference(self, inputs: list[pa.RecordBatch]) -> list[list[tuple[int, str | None]]]:
        return [self._plainly(block) for block in inputs]

    def _plainly(self, block: pa.RecordBatch) -> list[tuple[int, str | None]]:
        known, found = self._plain, []
        for user, page in zip(block.column(0).to_pylist(), block.column(1).to_pylist(), strict=True):
            before = known.get(user, (0, None))
            found.append(before)
            known[user] = (before[0] + 1, page)
        return found

    def check(self, product: list[list[pa.Array]], reference: list[list[tuple[int, str | None]]]) -> None:
        for columns, plain in zip(product, reference, strict=True):
            found = list(zip(*(column.to_pylist() for column in columns), strict=True))
            case.require_same("state", found, plain)

    def extra(self) -> dict[str, Any]:
        return {"keys": self._table.keys, "bytes_per_key": self._table.memory_bytes / self._table.keys}


CASES: list[case.Case] = [
    stage.StageCase(
        name="keyed_state",
        says="a count and a last text of 100,000 keys; beside a dict of tuples",
        target=case.Target(cpu_us=0.8),
        events=100_000,
        quick_events=2_000,
        open=KeyedStateBench,
    ),
]
