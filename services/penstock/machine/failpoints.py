"""Arming failpoints for one process, from what `penstock run` finds in PENSTOCK_FAILPOINTS.

`POINT=ACTION@WHICH`, several with semicolons between them: `lane.committed=kill@3; log.flushed=sleep:0.5@2-`. WHICH counts
the times the point is reached since the start: `3` that time only, `2-` from then on; without it, the first time. ACTION is
`kill` or `stop` (the signals), `sleep:SECONDS`, and where a write may fail `fail` (a full disk) or `raise` (an error no rule
knows).
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping

from penstock.core import failpoints

VARIABLE = "PENSTOCK_FAILPOINTS"

_ORDER = re.compile(r"(?P<point>[^=@]+)=(?P<action>[a-z]+)(?::(?P<seconds>\d+(?:\.\d+)?))?(?:@(?P<first>\d+)(?P<on>-)?)?")
_ACTIONS: Mapping[str, Callable[[float], None]] = {
    "kill": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda _: os.kill(os.getpid(), signal.SIGSTOP),
    "sleep": time.sleep,
    "fail": lambda _: _no_room(),
    "raise": lambda _: _surprise(),
}
_RAISING = frozenset({"fail", "raise"})


class FailpointError(ValueError):
    """An order that can't be followed; the message names it and what could stand there."""


class _Armed:
    """What one point does, by how often it was reached; points are reached on several threads."""

    def __init__(self, act: Callable[[float], None], seconds: float, first: int, *, goes_on: bool) -> None:
        self._act, self._seconds, self._first, self._goes_on = act, seconds, first, goes_on
        self._times: Iterator[int] = itertools.count(1)

    def reached(self) -> None:
        time_ = next(self._times)
        if time_ == self._first or (self._goes_on and time_ > self._first):
            self._act(self._seconds)


def armed(text: str) -> failpoints.Failpoint:
    """The failpoint that follows `text`; `failpoints.nothing` for an empty one. Raises FailpointError."""
    orders = dict(_order(order.strip()) for order in text.split(";") if order.strip())
    if not orders:
        return failpoints.nothing

    def failpoint(name: str) -> None:
        if order := orders.get(name):
            order.reached()

    return failpoint


def _order(text: str) -> tuple[str, _Armed]:
    told = _ORDER.fullmatch(text)
    if told is None:
        raise FailpointError(f'{VARIABLE}: "{text}" is not POINT=ACTION[:SECONDS][@TIME[-]], such as lane.committed=kill@3')
    point, action = told["point"].strip(), told["action"]
    if point not in failpoints.POINTS:
        raise FailpointError(f'{VARIABLE}: no point "{point}"; there are: {", ".join(failpoints.POINTS)}')
    if action not in _ACTIONS:
        raise FailpointError(f'{VARIABLE}: no action "{action}" for {point}; there are: {", ".join(_ACTIONS)}')
    if (action == "sleep") != (told["seconds"] is not None):
        raise FailpointError(f'{VARIABLE}: "{text}": sleep takes seconds, such as sleep:0.5, and the others take none')
    if action in _RAISING and not failpoints.POINTS[point].may_fail:
        able = ", ".join(name for name, known in failpoints.POINTS.items() if known.may_fail)
        raise FailpointError(f"{VARIABLE}: {point} can't fail, nothing is written there; these can: {able}")
    first = int(told["first"] or 1)
    if first < 1:
        raise FailpointError(f'{VARIABLE}: "{text}": times are counted from 1')
    return point, _Armed(_ACTIONS[action], float(told["seconds"] or 0.0), first, goes_on=bool(told["on"]))


def _surprise() -> None:
    raise RuntimeError("as PENSTOCK_FAILPOINTS says")


def _no_room() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
