"""The schemas that records of a source were written with, by their numbers: each asked for when it first comes up."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pyarrow as pa

from penstock.core.records import layout
from penstock.core.records.avro import columns, nodes
from penstock.log import port
from penstock.registry import client

_AGAIN_SECONDS = 30.0


class Schemas:
    """Of one registry. `learn` is called from one event loop; `known` may be read from any thread meanwhile."""

    def __init__(self, registry: client.Registry) -> None:
        self._registry = registry
        self._known: dict[int, nodes.Node | columns.Missing] = {}
        self._missing_until: dict[int, float] = {}

    @property
    def known(self) -> Mapping[int, nodes.Node | columns.Missing]:
        """All that have come up."""
        return self._known

    async def learn(self, rows: pa.RecordBatch) -> None:
        """Return when every schema of this run is known, be it as one that the registry doesn't have.

        Raises LogUnavailableError while the registry is away: nobody can tell then what the records say.
        """
        await self.learn_of(rows.column(layout.VALUE))

    async def learn_of(self, values: pa.BinaryArray) -> None:
        """As `learn`, of values alone."""
        for number in pa.array(columns.numbers(values)).unique().to_pylist():
            if number >= 0 and self._is_open(number):
                await self._ask(number)

    def _is_open(self, number: int) -> bool:
        """What was not there may have been registered since."""
        known = self._known.get(number)
        return known is None or (isinstance(known, columns.Missing) and time.monotonic() > self._missing_until[number])

    async def _ask(self, number: int) -> None:
        try:
            answer = await self._registry.schema(number)
        except client.RegistryError as error:
            if error.is_outage or error.status == 403:
                raise port.LogUnavailableError(f"{error}; records wait in their topic until it answers") from error
            self._keep(number, columns.Missing(reason=str(error)))
            return
        self._keep(number, _understood(number, answer))

    def _keep(self, number: int, found: nodes.Node | columns.Missing) -> None:
        self._known[number] = found
        self._missing_until[number] = time.monotonic() + _AGAIN_SECONDS


def _understood(number: int, answer: Mapping[str, object]) -> nodes.Node | columns.Missing:
    kind = str(answer.get("schemaType") or "AVRO")
    if kind != "AVRO":
        return columns.Missing(reason=f"schema {number} is a {kind} schema, and records are read as Avro")
    if answer.get("references"):
        return columns.Missing(reason=f"schema {number} refers to other schemas, which are not read yet")
    try:
        return nodes.parsed(str(answer["schema"]))
    except nodes.SchemaError as error:
        return columns.Missing(reason=f"schema {number} can't be used: {error}")
