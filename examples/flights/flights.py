"""Real events for a real run: every departure from New York in 2013, the trouble a pipeline meets, and the right answer.

Everything is deterministic, so a sender that is killed can make the same stream again and go on from its cursor, and the
numbers a run must end with are known before it starts (`Expected`). The answer is computed from the source file without any
part of Penstock.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import heapq
import pathlib
import random
from collections.abc import Iterator, Sequence
from typing import Any

import archive as archives
import broken
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

FLIGHTS = 336_776
EVENTS = 19_486
RESENT_PERCENT = 10
SEED = 2013
QUERY = """
SELECT origin, carrier,
       count(*) AS flights,
       sum(delay_minutes)::BIGINT AS delay_minutes,
       sum(miles)::BIGINT AS miles,
       count(*) FILTER (WHERE hour(scheduled_at) < 12) AS before_noon,
       count(*) FILTER (WHERE freezing) AS freezing
FROM flights
WHERE origin IN ('EWR', 'JFK', 'LGA')
GROUP BY origin, carrier
ORDER BY flights DESC, origin, carrier
""".strip()

Answer = list[tuple[str, str, int, int, int, int, int]]

_DEPARTURE = ("carrier", "flight", "tailnum", "dest", "dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "distance")
_WEATHER = {
    "temp": "temperature_f",
    "dewp": "dew_point_f",
    "humid": "humidity_percent",
    "wind_dir": "wind_degrees",
    "wind_speed": "wind_mph",
    "wind_gust": "gust_mph",
    "precip": "precipitation_in",
    "pressure": "pressure_mbar",
    "visib": "visibility_miles",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a run over `stream` ends with, if no part of the stream is sent more than once.

    `sent = events + rejected`; `events` are those that are acknowledged as durable, duplicates among them. A sender that
    had to reconnect adds to `events` and `duplicates` alike. `rows = filtered + written + dead_lettered`.
    """

    sent: int
    events: int
    rejected: int
    duplicates: int
    rows: int
    filtered: int
    written: int
    dead_lettered: int


def stream(archive: pathlib.Path) -> Iterator[bytes]:
    """The whole of the demo's traffic: the real events, a tenth of them twice, the broken ones in between."""
    resent = with_resends(list(events(archive)), percent=RESENT_PERCENT, seed=SEED)
    return with_broken(resent, [one.event for one in broken.events()], every=600)


def expected(archive: pathlib.Path) -> Expected:
    """The numbers of a run over `stream`, counted from the source."""
    table = archives.flights(archive)
    extras = broken.events()
    duplicates = EVENTS * RESENT_PERCENT // 100
    rejected = sum(one.rejected for one in extras)
    rows = table.num_rows + sum(one.rows for one in extras)
    filtered = table["dep_time"].null_count + sum(one.filtered for one in extras)
    dead_lettered = sum(one.dead_lettered for one in extras)
    valid = EVENTS + duplicates + len(extras) - rejected
    return Expected(
        sent=valid + rejected,
        events=valid,
        rejected=rejected,
        duplicates=duplicates,
        rows=rows,
        filtered=filtered,
        written=rows - filtered - dead_lettered,
        dead_lettered=dead_lettered,
    )


def events(archive: pathlib.Path) -> Iterator[bytes]:
    """One JSON event per airport and hour, in order of time, its departures in the order of the source."""
    observed = _weather_by_hour(archives.weather(archive))
    for (time_hour, origin), departures in sorted(_departures_by_hour(archives.flights(archive)).items()):
        event = {
            "origin": origin,
            "time_hour": _rfc3339(time_hour),
            "weather": observed.get((time_hour, origin)),
            "departures": departures,
        }
        yield msgspec.json.encode(event)


def with_resends(events: Sequence[bytes], *, percent: int, seed: int) -> Iterator[bytes]:
    """All events in their order, and `percent` of them a second time, between 1 and 2,000 events later."""
    rng = random.Random(seed)
    chosen = set(rng.sample(range(len(events)), len(events) * percent // 100))
    later: list[tuple[int, int]] = []
    for number, event in enumerate(events):
        while later and later[0][0] < number:
            yield events[heapq.heappop(later)[1]]
        yield event
        if number in chosen:
            heapq.heappush(later, (number + rng.randrange(2000), number))
    for _, number in sorted(later):
        yield events[number]


def with_broken(events: Iterator[bytes], broken: Sequence[bytes], *, every: int) -> Iterator[bytes]:
    """`events` with one of `broken` after each `every` of them, and what is left of those at the end."""
    left = collections.deque(broken)
    for number, event in enumerate(events, start=1):
        yield event
        if left and number % every == 0:
            yield left.popleft()
    yield from left


def answer_from_source(archive: pathlib.Path) -> Answer:
    """What QUERY must return, counted flight by flight from the source: integers only, so equality is exact."""
    records = archives.weather(archive)
    hours = zip(records["origin"].to_pylist(), records["time_hour"].to_pylist(), strict=True)
    temperature_f = dict(zip(hours, records["temp"].to_pylist(), strict=True))
    table = archives.flights(archive)
    columns = [
        table[name].to_pylist() for name in ("origin", "carrier", "dep_time", "dep_delay", "distance", "hour", "time_hour")
    ]
    sums: dict[tuple[str, str], list[int]] = collections.defaultdict(lambda: [0, 0, 0, 0, 0])
    for origin, carrier, dep_time, dep_delay, distance, hour, time_hour in zip(*columns, strict=True):
        if dep_time is not None:
            degrees = temperature_f.get((origin, time_hour))
            counts = sums[origin, carrier]
            counts[0] += 1
            counts[1] += dep_delay
            counts[2] += distance
            counts[3] += hour < 12
            counts[4] += degrees is not None and degrees < 32
    rows = [(*key, *counts) for key, counts in sums.items()]
    return sorted(rows, key=lambda row: (-row[2], row[0], row[1]))  # type: ignore[return-value]


def _departures_by_hour(table: pa.Table) -> dict[tuple[datetime.datetime, str], list[dict[str, Any]]]:
    hours: dict[tuple[datetime.datetime, str], list[dict[str, Any]]] = {}
    scheduled = pc.strftime(_local_time(table), format="%Y-%m-%d %H:%M")
    columns = [table[name].to_pylist() for name in _DEPARTURE] + [scheduled.to_pylist()]
    departures = (dict(zip((*_DEPARTURE, "scheduled"), values, strict=True)) for values in zip(*columns, strict=True))
    for *hour, departure in zip(table["time_hour"].to_pylist(), table["origin"].to_pylist(), departures, strict=True):
        hours.setdefault((hour[0], hour[1]), []).append(departure)
    return hours


def _local_time(table: pa.Table) -> pa.ChunkedArray:
    """The scheduled departure on New York's clocks, from its parts in the source."""
    day = pc.strptime(
        pc.binary_join_element_wise(*(pc.cast(table[part], pa.string()) for part in ("year", "month", "day")), "-"),
        format="%Y-%m-%d",
        unit="s",
    )
    seconds = pc.add(pc.multiply(table["hour"], 3600), pc.multiply(table["minute"], 60))
    return pc.add(day, pc.cast(seconds, pa.duration("s")))


def _weather_by_hour(table: pa.Table) -> dict[tuple[datetime.datetime, str], dict[str, Any]]:
    return {
        (row["time_hour"], row["origin"]): {ours: row[theirs] for theirs, ours in _WEATHER.items()} for row in table.to_pylist()
    }


def _rfc3339(time: datetime.datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
