"""Which of a sink's endpoints takes the next write, and which are left alone for a while.

Pure: time and randomness come in. The edge that has the channels asks `pick` and says how each call went. An endpoint that
fails is away for a while, growing with each failure, and then gets one write as a trial; one that is away is no outage of the
lane as long as another one works, and `works_elsewhere` says so. Where order is kept, writes stay with one endpoint until it
is known what became of the last.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

_MOST_DOUBLINGS = 64


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How long an endpoint is away: `first_seconds`, doubled by each further failure, and up to half of that on top by
    chance. So many lost races in a row (`slow_in_a_row`) are a failure."""

    first_seconds: float = 1.0
    longest_seconds: float = 30.0
    slow_in_a_row: int = 3


@dataclasses.dataclass(slots=True)
class _Endpoint:
    in_flight: int = 0
    failures: int = 0
    slow: int = 0
    away_since: float = -math.inf
    away_until: float = -math.inf
    open_until: float = -math.inf
    """Until then a write of unknown outcome may still land."""
    last_used: int = 0
    retired: bool = False


class Endpoints:
    """Every `now` is monotonic seconds; `random` gives floats in [0, 1). Never empty."""

    def __init__(self, addresses: Sequence[str], *, random: Callable[[], float], settings: Settings | None = None) -> None:
        self._settings, self._random = settings or Settings(), random
        self._known: dict[str, _Endpoint] = {}
        self._uses = 0
        self._pin: str | None = None
        self._ordered = self._repeatable = False
        self.update(addresses)
        # Batchers that start together should not all begin with the same one.
        first = int(random() * len(self._known))
        for place, one in enumerate(self._known.values()):
            one.last_used = (place - first) % len(self._known) - len(self._known)

    def keep_order(self, ordered: bool, *, repeatable: bool) -> None:
        """`ordered`: stay with one endpoint. `repeatable`: the store lands a write that comes twice only once, so that the
        lane may move on before it knows what became of the first."""
        self._ordered, self._repeatable = ordered, repeatable

    def update(self, addresses: Iterable[str]) -> None:
        """These are there now. One that has gone gets no new writes, and is forgotten when its last has ended."""
        wanted = list(dict.fromkeys(addresses))
        if not wanted:
            return
        for address in wanted:
            self._known.setdefault(address, _Endpoint(last_used=self._uses)).retired = False
        for address, one in self._known.items():
            one.retired = address not in wanted

    def gone(self, now: float) -> list[str]:
        """Retired endpoints that nothing waits for any more; they are forgotten."""
        found = [address for address, one in self._known.items() if one.retired and not one.in_flight and one.open_until <= now]
        for address in found:
            del self._known[address]
        return found

    @property
    def addresses(self) -> list[str]:
        """Those that take writes."""
        return [address for address, one in self._known.items() if not one.retired]

    def well(self) -> int:
        """How many of them have not failed last."""
        return sum(not one.failures and not one.retired for one in self._known.values())

    def pick(self, now: float) -> str:
        """Where the next write goes: to the least busy that is not away, in turns. With all of them away, to the one whose
        turn it is: whether to write at all is the circuit's to say."""
        if len(self._known) == 1:
            return next(iter(self._known))
        if self._ordered and self._pin in self._known and self._stays(self._known[self._pin], now):
            return self._pin
        able = self._able(now)
        chosen = self._least_busy(able) if able else min(self.addresses, key=lambda address: self._known[address].last_used)
        if self._ordered:
            self._pin = chosen
        return chosen

    def pick_beside(self, now: float, other: str) -> str | None:
        """A second endpoint for the same write: one that works; None where there is none."""
        able = [address for address in self._able(now) if address != other and not self._known[address].failures]
        return self._least_busy(able) if able else None

    def _stays(self, pin: _Endpoint, now: float) -> bool:
        if not self._repeatable and now < pin.open_until:
            return True
        return not pin.retired and now >= pin.away_until

    def _able(self, now: float) -> list[str]:
        """An endpoint that has just been away proves itself with one write."""
        return [
            address
            for address, one in self._known.items()
            if not one.retired and now >= one.away_until and not (one.failures and one.in_flight)
        ]

    def _least_busy(self, able: Sequence[str]) -> str:
        return min(able, key=lambda address: (self._known[address].in_flight, self._known[address].last_used))

    def began(self, address: str) -> None:
        self._uses += 1
        one = self._known[address]
        one.last_used = self._uses
        one.in_flight += 1

    def gave_up(self, address: str) -> None:
        """The call was cancelled: that says nothing about the endpoint."""
        self._known[address].in_flight -= 1

    def answered(self, address: str) -> None:
        """The endpoint has an answer, whatever it says of the rows: what was sent to it before is known now."""
        one = self._known[address]
        one.in_flight -= 1
        one.failures = one.slow = 0
        one.away_until = one.open_until = -math.inf

    def failed(self, now: float, address: str, *, began: float, may_land_until: float = -math.inf) -> None:
        """A call that began then found no store behind the endpoint, or no endpoint. One whose outcome is unknown may land
        until `may_land_until`."""
        one = self._known[address]
        one.in_flight -= 1
        one.open_until = max(one.open_until, may_land_until)
        self._send_away(one, now, began)

    def returned(self, address: str) -> None:
        """There is somebody at the address again, who may prove himself with one write."""
        if (one := self._known.get(address)) is not None:
            one.away_until = -math.inf

    def lost(self, now: float, address: str, *, began: float) -> None:
        """A call that was given up because another endpoint, asked later, had landed the same write."""
        one = self._known.get(address)
        if one is None:
            return
        one.slow += 1
        if one.slow >= self._settings.slow_in_a_row:
            self._send_away(one, now, began)

    def _send_away(self, one: _Endpoint, now: float, began: float) -> None:
        if began < one.away_since:
            # Calls that were under way together end together: that is one failure.
            return
        told = self._settings
        one.failures, one.slow, one.away_since = one.failures + 1, 0, now
        grown = told.first_seconds * 2.0 ** min(one.failures - 1, _MOST_DOUBLINGS)
        one.away_until = now + min(grown, told.longest_seconds) * (1 + self._random() / 2)

    def works_elsewhere(self, now: float, address: str) -> bool:
        """Whether a failure at `address` is that endpoint's alone: there is another one that has not failed, and the next
        write may go there."""
        if self._ordered and self._pin == address and self._stays(self._known[address], now):
            return False
        return any(not one.failures and not one.retired for name, one in self._known.items() if name != address)

    def forgive(self) -> None:
        """The circuit lets a trial through: each endpoint may be the one that works."""
        for one in self._known.values():
            one.failures = one.slow = 0
            one.away_until = one.away_since = -math.inf
