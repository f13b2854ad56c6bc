"""What a process that starts waits for: brokers that are away, a Secret that isn't there, a pipeline still to be drained.

A pod stays up meanwhile, alive and not ready, and says what it waits for; on a terminal a person reads it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

_Result = TypeVar("_Result")

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0

_log = structlog.get_logger()


def nobody(_: str) -> None:
    """Nobody is told."""


class Waiting:
    """One process's start, step by step. `told` hears each new reason once, and an empty one when it is over."""

    def __init__(self, told: Callable[[str], None] = nobody, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._told, self._pause = told, pause
        self.error: Exception | None = None
        """What `why` was made of."""
        self.why = ""
        """Why the present step is tried again; empty while there is no reason."""

    async def until_done(
        self,
        step: Callable[[], Awaitable[_Result]],
        mendable: tuple[type[Exception], ...],
        text: Callable[[Exception], str] = str,
    ) -> _Result:
        """What `step` comes to, tried again with growing pauses after each error of `mendable`. Raises every other one."""
        seconds = FIRST_PAUSE_SECONDS
        while True:
            try:
                done = await step()
            except mendable as error:
                self.error = error
                self.say(text(error))
            else:
                self.error = None
                self.say("")
                return done
            await self._pause(seconds)
            seconds = min(2 * seconds, LONGEST_PAUSE_SECONDS)

    def say(self, why: str) -> None:
        """The same again is told nobody."""
        if why == self.why:
            return
        self.why = why
        if why:
            _log.warning("waiting", why=why)
        else:
            _log.info("waited")
        self._told(why)
