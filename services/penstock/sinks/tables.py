"""What every destination with tables agrees on: the policy for a table that is missing, and the names Penstock keeps."""

from __future__ import annotations

import enum

from penstock.core import results
from penstock.sinks import port

RESERVED_PREFIX = "_penstock_"
"""Names that begin so are Penstock's own, as tables and as columns."""


class TablePolicy(enum.Enum):
    """What `describe` may change. Each does what the one before it does, and more."""

    VERIFY = "Verify"
    CREATE_IF_MISSING = "CreateIfMissing"
    ADD_COLUMNS = "AddColumns"


def misconfigured(code: str, message: str, remedy: str) -> port.SinkError:
    """The lane pauses until a person has mended it; nothing is dead-lettered."""
    return port.SinkError(results.Failure(result_class=results.ResultClass.CONFIG, code=code, message=message, remedy=remedy))


def unavailable(code: str, message: str, remedy: str = "") -> port.SinkError:
    """The store can't be written just now; the same write is tried again for as long as it takes."""
    return port.SinkError(results.Failure(result_class=results.ResultClass.OUTAGE, code=code, message=message, remedy=remedy))
