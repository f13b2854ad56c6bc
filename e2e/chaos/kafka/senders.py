"""Clients that send hundreds of events a request, and what they were told, by number.

One thread each. A request is sent until its outcome is known, through any of the doors, and a tenth of them once more
for no reason.
"""

from __future__ import annotations

import collections
import random
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from e2e.chaos import clients
from e2e.chaos.kafka import stream
from e2e.checker import columns

_MOST_EVENTS = 1 << 22
_PAUSE_SECONDS = 0.1
_REMEMBERED = 100
_SLOWER = 8.0


class Told:
    """What is known of each event; numbers are given out in stretches."""

    def __init__(self, mix: stream.Mix) -> None:
        self.mix = mix
        self._state = np.zeros(_MOST_EVENTS, np.uint8)
        self._next = 0
        self._turn = threading.Lock()
        self.acknowledged = 0
        self.sent = 0
        """Attempts at events."""

    @property
    def state(self) -> columns.Bits:
        return self._state[: self._next]

    def take(self, count: int) -> stream.Drawn:
        """The next events, which nobody else has."""
        with self._turn:
            first, self._next = self._next, self._next + count
        return stream.draw(first, count, self.mix)

    def note(self, drawn: stream.Drawn, flag: int, refused: set[int]) -> None:
        """The answer to a request; what was refused one by one stays refused."""
        flags = np.full(len(drawn.number), flag, np.uint8)
        flags[list(refused)] = columns.SENT
        first, last = int(drawn.number[0]), int(drawn.number[-1]) + 1
        with self._turn:
            before = np.count_nonzero(self._state[first:last] & columns.OK)
            self._state[first:last] |= flags | columns.SENT
            self.acknowledged += int(np.count_nonzero(self._state[first:last] & columns.OK) - before)
            self.sent += len(drawn.number)


class Sender:
    """One client. `doors` are ways in, one of which it takes by chance each time; it keeps to its rate, or hurries when it is
    told to, and after `enough` events it takes its time."""

    def __init__(
        self,
        doors: Sequence[Callable[[], clients.Door]],
        told: Told,
        *,
        size: int,
        rate: float,
        enough: int,
        again: float,
        seed: str,
    ) -> None:
        self._doors, self._told, self._size, self._again = doors, told, size, again
        self._rate, self._enough = rate, enough
        self._random = random.Random(seed)
        self._old: collections.deque[stream.Drawn] = collections.deque(maxlen=_REMEMBERED)
        self._stop, self._hurries = threading.Event(), threading.Event()
        self._give_up_at = float("inf")
        self._open: dict[int, clients.Door] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.error: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def hurry(self) -> None:
        """From now on send as fast as the doors take it, until there is enough."""
        self._hurries.set()

    def stop(self, patience_seconds: float) -> None:
        """Send nothing new; what was sent is sent on until its outcome is known or the patience is at its end."""
        self._give_up_at = time.monotonic() + patience_seconds
        self._stop.set()

    def join(self) -> None:
        """Wait for the end. Raises what it could not cope with."""
        self._thread.join()
        for door in self._open.values():
            door.close()
        if self.error:
            raise self.error

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                fresh = self._told.take(self._size)
                if self._until_known(fresh):
                    self._old.append(fresh)
                if self._random.random() < self._again and self._old:
                    self._until_known(self._random.choice(self._old))
                self._stop.wait(max(0.0, self._pause() - (time.monotonic() - began)))
        except BaseException as error:
            self.error = error

    def _pause(self) -> float:
        """From the beginning of one request to the next."""
        if self._told.acknowledged >= self._enough:
            return self._size / self._rate * _SLOWER
        return 0.0 if self._hurries.is_set() else self._size / self._rate

    def _until_known(self, drawn: stream.Drawn) -> bool:
        payloads = stream.payloads(drawn)
        while not self._attempt(drawn, payloads):
            if time.monotonic() > self._give_up_at:
                return False
            time.sleep(_PAUSE_SECONDS * self._random.uniform(0.5, 1.5))
        return True

    def _attempt(self, drawn: stream.Drawn, payloads: Sequence[bytes]) -> bool:
        """Whether the outcome is known and good."""
        refused: set[int] = set()
        at = self._random.randrange(len(self._doors))
        try:
            refused = self._door(at).send(payloads)
        except clients.NotTakenError:
            self._told.note(drawn, columns.SENT, refused)
            return False
        except clients.UnknownError:
            self._told.note(drawn, columns.UNKNOWN, refused)
            return False
        if wrong := refused ^ set(np.flatnonzero(drawn.refused).tolist()):
            raise AssertionError(f"a door judged otherwise than it should: {wrong}")
        self._told.note(drawn, columns.OK, refused)
        return True

    def _door(self, at: int) -> clients.Door:
        if at not in self._open:
            self._open[at] = self._doors[at]()
        return self._open[at]
