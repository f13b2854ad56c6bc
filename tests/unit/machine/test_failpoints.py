"""Failpoints: every name has its place, an order is followed at the right time, a wrong one is refused with what there is."""

from __future__ import annotations

import errno
import pathlib
import re

import pytest

from penstock.core import failpoints
from penstock.machine import failpoints as armed

ROOT = pathlib.Path(__file__).parents[3]


def failures(text: str, name: str, times: int) -> list[int]:
    """At which of so many times something was raised."""
    failpoint, found = armed.armed(text), []
    for time in range(1, times + 1):
        try:
            failpoint(name)
        except OSError as error:
            found += [time] * (error.errno == errno.ENOSPC)
    return found


@pytest.mark.parametrize(
    ("order", "expected"),
    [("fail", [1]), ("fail@3", [3]), ("fail@2-", [2, 3, 4, 5]), ("fail@9", [])],
)
def test_an_order_is_followed_at_the_time_it_names(order: str, expected: list[int]) -> None:
    """Catches an order that is followed each time, never, or one time too early."""
    assert failures(f"files.moved={order}", "files.moved", 5) == expected


def test_each_point_counts_for_itself() -> None:
    """Catches one counter for all points."""
    text = " files.moved=fail@2 ; duckdb.inserted=fail@1;"
    assert failures(text, "files.moved", 2) == [2]
    assert failures(text, "duckdb.inserted", 2) == [1]
    assert failures(text, "files.landed", 2) == []


def test_without_orders_nothing_runs() -> None:
    """Catches a look-up at each step of every process that was never asked for one."""
    assert armed.armed("") is failpoints.nothing
    assert armed.armed(" ; ") is failpoints.nothing
    assert failpoints.within("duckdb", failpoints.nothing) is failpoints.nothing


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lane.comitted=kill", "lane.committed"),
        ("lane.committed=explode", "kill, stop, sleep"),
        ("lane.committed=sleep", "sleep:0.5"),
        ("lane.committed=kill:3", "sleep:0.5"),
        ("lane.committed=fail", "duckdb.inserted"),
        ("lane.committed=kill@0", "counted from 1"),
        ("lane.committed", "lane.committed=kill@3"),
    ],
)
def test_an_order_that_can_t_be_followed_is_refused_with_what_there_is(text: str, says: str) -> None:
    """Catches a misspelt point that lets a fault test pass because nothing happened."""
    with pytest.raises(armed.FailpointError, match=re.escape(says)):
        armed.armed(text)


def test_every_point_in_the_table_is_reached_somewhere_and_every_step_is_in_the_table() -> None:
    """Catches a point nobody can die at, and a step that no order can name."""
    called: set[str] = set()
    for path in (ROOT / "services" / "penstock").rglob("*.py"):
        text = path.read_text()
        room = path.parent.name + "." if path.parent.parent.name == "sinks" else ""
        names = re.findall(r"failpoint\(\"([a-z.]+)\"\)", text)
        called.update(name if "." in name else room + name for name in names)
    assert called == set(failpoints.POINTS)


def test_the_page_shows_every_point() -> None:
    """Catches a table in the docs that tells of points as they once were."""
    page = (ROOT / "docs" / "reliability.md").read_text()
    rows = re.findall(r"^\| `([a-z.]+)` \| (.*?) \|", page, re.MULTILINE)
    assert rows == [(name, point.happened) for name, point in failpoints.POINTS.items()]
