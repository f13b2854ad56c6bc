"""A process that writes blocks to a Postgres sink until it is ended: arguments DSN FROM TO STEP NTH SIGNAL.

Three rows and one write per block. Prints the block's offset once its write is answered. The NTH time STEP is reached it
sends itself SIGNAL: KILL, or STOP for one that wakes up as a zombie.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from tests.integration import pg
from tests.unit.sinks import writes

from penstock.core import addresses

ROWS_PER_BLOCK = 3


async def write_blocks(dsn: str, start: int, end: int, failpoint=lambda step: None, **told: object) -> None:
    """Write blocks `start` to `end`; what has landed before is trimmed as the batcher does."""
    async with pg.opened(dsn, failpoint=failpoint, **told) as sink:
        await sink.describe(writes.LANE, "clicks", pg.SCHEMA)
        for offset in range(start, end):
            await land(sink, offset, offset + 1)
            sys.stdout.write(f"{offset}\n")
            sys.stdout.flush()


async def land(sink, start: int, end: int, partition: int = 0) -> None:
    """Send blocks `start` to `end`, and on `already_landed` what is left."""
    left = [writes.span(start, end, partition=partition)]
    while left:
        wanted = left.pop()
        first = (partition * 1_000 + wanted.start.offset) * ROWS_PER_BLOCK
        last = (partition * 1_000 + wanted.end.offset) * ROWS_PER_BLOCK
        answer = await sink.write(writes.batch(writes.numbered(first, last), wanted))
        if answer.already_landed:
            left += addresses.subtract([wanted], answer.already_landed)


async def main(dsn: str, start: str, end: str, step: str, nth: str, sent: str) -> None:
    """See above."""
    left = int(nth)

    def failpoint(reached: str) -> None:
        nonlocal left
        left -= reached == step
        if reached == step and left == 0:
            os.kill(os.getpid(), signal.Signals[f"SIG{sent}"])

    await write_blocks(dsn, int(start), int(end), failpoint)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
