"""Pulling batches from a blocking iterable in a thread of its own, a few ahead of the sender."""

from __future__ import annotations

import asyncio
import collections
import threading
from collections.abc import Callable, Iterable, Iterator

_BATCHES_AHEAD = 4

Batch = list[bytes]


class Feed:
    """`wake` is called on the event loop whenever `take` may have a new answer."""

    def __init__(self, batches: Iterable[Batch], *, skip: int, wake: Callable[[], None]) -> None:
        self._batches = after(batches, skip)
        self._ready: collections.deque[Batch] = collections.deque()
        self._room = threading.Semaphore(_BATCHES_AHEAD)
        self._wake = wake
        self._ended = False
        self._failure: BaseException | None = None

    def start(self) -> None:
        # A daemon: a read from a silent pipe must not keep an interrupted process alive.
        threading.Thread(target=self._pull, args=(asyncio.get_running_loop(),), name="feed", daemon=True).start()

    def take(self) -> Batch | None:
        """The next batch if one is there. Raises what the iterable raised, in its place in the order."""
        if self._ready:
            self._room.release()
            return self._ready.popleft()
        if self._failure:
            raise self._failure
        return None

    @property
    def exhausted(self) -> bool:
        """Nothing is left and nothing will come."""
        return self._ended and not self._ready and not self._failure

    def _pull(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            for batch in self._batches:
                self._room.acquire()
                self._ready.append(batch)
                _notify(loop, self._wake)
        except Exception as error:
            self._failure = error
        self._ended = True
        _notify(loop, self._wake)


def after(batches: Iterable[Batch], skip: int) -> Iterator[Batch]:
    """The same batches without their first `skip` events."""
    for batch in batches:
        rest = batch[skip:] if skip else batch
        skip = max(0, skip - len(batch))
        if rest:
            yield rest


def _notify(loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(wake)
    except RuntimeError:  # the loop is closed: nobody is waiting any more
        return
