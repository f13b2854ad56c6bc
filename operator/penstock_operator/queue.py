"""One keyed work queue: a pipeline waits or is being worked on, once; what happens to it meanwhile makes it wait once more.

A storm of events about one object becomes one look at it, and one that fails comes back later, ever later, while the others
go on.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

FIRST_BACKOFF_SECONDS: Final = 0.5
MOST_BACKOFF_SECONDS: Final = 60.0


def backoff_seconds(failures: int, jitter: float) -> float:
    """The wait after so many failures in a row; `jitter` in [0, 1) adds up to half of it."""
    wait: float = min(MOST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(failures - 1, 32))
    return wait * (1 + jitter / 2)


class KeyedQueue(Generic[Key]):
    """`add` a key, `get` one, and say `done` with it. `random` gives floats in [0, 1)."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._waiting: collections.OrderedDict[Key, None] = collections.OrderedDict()
        self._running: set[Key] = set()
        self._again: dict[Key, bool] = {}
        self._failures: dict[Key, int] = {}
        self._later: dict[Key, asyncio.TimerHandle] = {}
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: Key, *, at_once: bool = False) -> None:
        """Look at this key soon. What is heard of a key that waits for its next try does not shorten the wait, unless it is
        something that may have put an end to the failures."""
        if at_once and key in self._later:
            self._later.pop(key).cancel()
        if key in self._running:
            self._again[key] = at_once or self._again.get(key, False)
        elif key not in self._later:
            self._waiting[key] = None
            self._filled.set()

    async def get(self) -> Key:
        """The key that waits longest; `done` must follow."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        key, _ = self._waiting.popitem(last=False)
        self._running.add(key)
        return key

    def done(self, key: Key, *, failed: bool = False) -> None:
        """The look is over. A failed one comes back by itself."""
        self._running.discard(key)
        heard, urgent = key in self._again, self._again.pop(key, False)
        if failed:
            self._failures[key] = failures = self._failures.get(key, 0) + 1
            wait = backoff_seconds(failures, self._random())
            self._later[key] = asyncio.get_running_loop().call_later(wait, self._retry, key)
            if urgent:
                self.add(key, at_once=True)
            return
        self._failures.pop(key, None)
        if heard:
            self.add(key)

    def _retry(self, key: Key) -> None:
        self._later.pop(key, None)
        self.add(key)

    def close(self) -> None:
        """Forget what would come back later."""
        for handle in self._later.values():
            handle.cancel()
        self._later.clear()
