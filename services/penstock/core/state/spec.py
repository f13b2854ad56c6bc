"""What is remembered of each key, and under which names expressions see it; plain data."""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

MOST_VALUE_BYTES = 1_024
"""A longer text or byte string isn't remembered: the key's last value is then NULL, and it is counted."""

_HIDDEN_PREFIX = "_state_"


class Kind(enum.Enum):
    """What is made of the events of a key that stand before this one."""

    COUNT = "Count"
    SUM = "Sum"
    LAST = "Last"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One thing to remember. `column` is what expressions see: its name, and its type as in a block.

    COUNT and SUM are int64; SUM and LAST are over the event's field `field`.
    """

    kind: Kind
    column: pa.Field[Any]
    field: str = ""

    @property
    def name(self) -> str:
        return str(self.column.name)

    @property
    def hidden(self) -> str:
        """The column's name inside a lane, where no field can be called so."""
        return _HIDDEN_PREFIX + self.name


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StateSpec:
    """The key's fields, how many keys are remembered at most in each partition, and what of each."""

    key: tuple[str, ...]
    max_keys: int
    values: tuple[Value, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The event fields that are read."""
        return tuple(dict.fromkeys([*self.key, *(value.field for value in self.values if value.field)]))


def is_hidden(column: str) -> bool:
    """Whether a column of a lane holds state."""
    return column.startswith(_HIDDEN_PREFIX)
