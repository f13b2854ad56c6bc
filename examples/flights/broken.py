"""Events that are wrong on purpose, each with an hour of its own, so that none can be taken for a duplicate.

Some are refused at the door; some are valid, but hold departures whose scheduled time is no time, next to good ones.
"""

from __future__ import annotations

import dataclasses
import datetime

import msgspec

ORIGIN = "TST"
"""No real airport here, so that broken events can be told from the real ones in the landed table."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """One event that is wrong on purpose. Rejected at the door, or accepted with `rows` of which some can't be mapped."""

    event: bytes
    why: str
    rejected: bool = False
    rows: int = 0
    filtered: int = 0
    dead_lettered: int = 0


def events() -> list[Broken]:
    """Every way to be wrong, each event with an hour of its own: refused whole, or valid with items that can't be mapped."""
    refused = [_refused(hour, why, text) for hour, (why, text) in enumerate(_REFUSED)]
    failing = [_failing(100 + number, unreadable) for number, unreadable in enumerate(_UNREADABLE_TIMES)]
    pairs = zip(refused[: len(failing)], failing, strict=True)
    return [broken for pair in pairs for broken in pair] + refused[len(failing) :]


_FAR = '{"carrier":"ZZ","flight":1,"dest":"IAH","scheduled":"2013-01-01 05:00","distance":"far"}'

_REFUSED = (
    ("malformed: cut off", '{"origin":"TST","time_hour":"HOUR","departures":['),
    ("malformed: not JSON", "origin=TST time_hour=HOUR"),
    ("malformed: two documents", '{"origin":"TST","time_hour":"HOUR","departures":[]}{}'),
    ("malformed: not an object", '["TST","HOUR"]'),
    ("malformed: invalid UTF-8", '{"origin":"TST\udcff","time_hour":"HOUR","departures":[]}'),
    ("wrong type: departures is text", '{"origin":"TST","time_hour":"HOUR","departures":"none"}'),
    ("wrong type: origin is a number", '{"origin":7,"time_hour":"HOUR","departures":[]}'),
    ("wrong type: time_hour is no time", '{"origin":"TST","time_hour":"yesterday","departures":[]}'),
    ("wrong type: distance is text", '{"origin":"TST","time_hour":"HOUR","departures":[' + _FAR + "]}"),
    ("missing: time_hour", '{"origin":"TST","departures":[]}'),
    ("missing: origin", '{"time_hour":"HOUR","departures":[]}'),
    ("missing: departures is null", '{"origin":"TST","time_hour":"HOUR","departures":null}'),
    ("too large", '{"origin":"TST","time_hour":"HOUR","departures":[],"note":"' + "x" * 70_000 + '"}'),
)

_UNREADABLE_TIMES = ("2013-02-30 10:00", "2013-06-01 25:61", "soon", "", "06/01/2013 10:00", "2013-06-01T10:00")


def _refused(number: int, why: str, text: str) -> Broken:
    return Broken(event=text.replace("HOUR", _own_hour(number)).encode(errors="surrogateescape"), why=why, rejected=True)


def _failing(number: int, unreadable: str) -> Broken:
    """Five departures: two good ones, two whose text is no time, one cancelled."""
    fine = {"carrier": "ZZ", "flight": number, "dest": "IAH", "distance": 1400, "dep_time": 1015, "dep_delay": 15}
    good = {**fine, "scheduled": "2013-06-01 10:00"}
    departures = [
        good,
        {**fine, "scheduled": unreadable},
        good,
        {**good, "dep_time": None, "dep_delay": None},
        {**fine, "scheduled": unreadable},
    ]
    event = {"origin": ORIGIN, "time_hour": _own_hour(number), "weather": None, "departures": departures}
    encoded = msgspec.json.encode(event)
    return Broken(event=encoded, why=f"scheduled: {unreadable!r} is no time", rows=5, filtered=1, dead_lettered=2)


def _own_hour(number: int) -> str:
    return (datetime.datetime(2014, 6, 1) + datetime.timedelta(hours=number)).strftime("%Y-%m-%dT%H:%M:%SZ")
