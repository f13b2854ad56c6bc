"""One piece of blocking work at a time, on a thread of its own.

Stores of one machine are written by one writer at a time. Waiting for the turn can be given up without a trace; work that
has begun is waited for, so that a caller whose deadline has passed never leaves a write running that nobody knows about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent import futures
from typing import TypeVar

T = TypeVar("T")


class Turns:
    """A thread, and the order in which its callers get it. Nothing is called after `close`."""

    def __init__(self, name: str) -> None:
        self._turn = asyncio.Lock()
        self._executor = futures.ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises. Cancelled after the work has begun, it ends when the work has ended."""
        async with self._turn:
            job = asyncio.get_running_loop().run_in_executor(self._executor, work)
            try:
                return await asyncio.shield(job)
            except asyncio.CancelledError:
                await asyncio.wait([job])
                raise

    async def close(self, last: Callable[[], None]) -> None:
        """Run `last` after everything that has begun, then end the thread."""
        await self.run(last)
        self._executor.shutdown(wait=True)
