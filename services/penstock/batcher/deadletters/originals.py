"""The bytes an event came in, read back from its block; only dead letters ever ask."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import msgspec
import pyarrow as pa

from penstock.core import blocks, deadletters


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """One event as it came; an event of the Arrow door has no bytes, so its columns are rendered as JSON."""

    document: bytes
    format: deadletters.OriginalFormat
    received_at_microseconds: int


class Originals:
    """All events of one block by ordinal. Raises CorruptBlockError when made of bytes that are no block."""

    def __init__(self, value: bytes, headers: Mapping[str, bytes]) -> None:
        self._batch = blocks.decode(value, headers)

    def event(self, ordinal: int) -> Original:
        document = self._batch.column(blocks.ORIGINAL)[ordinal].as_py()
        received = self._batch.column(blocks.RECEIVED_AT).cast(pa.int64())[ordinal].as_py()
        if document is not None:
            return Original(document=document, format=deadletters.OriginalFormat.JSON, received_at_microseconds=received)
        return Original(
            document=self._rendered(ordinal), format=deadletters.OriginalFormat.ARROW, received_at_microseconds=received
        )

    def _rendered(self, ordinal: int) -> bytes:
        row = self._batch.slice(ordinal, 1).to_pylist()[0]
        shown = {name: value for name, value in row.items() if not name.startswith("_")}
        return msgspec.json.encode(shown)
