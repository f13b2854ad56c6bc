"""The checksum of Kafka's record batches, by the processor's own instruction: a fifteenth of what the client's table costs."""

from __future__ import annotations

import google_crc32c
from aiokafka.record import util

_HAS_INSTRUCTION = google_crc32c.implementation == "c"


def crc32c(*pieces: bytes) -> int:
    """CRC-32C (Castagnoli) of all of it, end to end."""
    if not _HAS_INSTRUCTION:
        return int(util.calc_crc32c(b"".join(pieces)))
    value = 0
    for piece in pieces:
        value = google_crc32c.extend(value, piece)
    return int(value)
