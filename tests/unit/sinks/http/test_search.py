"""Halving what is refused, where what is accepted stays."""

import asyncio

import hypothesis
import pytest
from hypothesis import strategies as st

from penstock.core import delivery
from penstock.sinks import tables
from penstock.sinks.http import answers, search
from penstock.wire import sink as wire


class Store:
    """Refuses what holds a row of `bad` or is longer than `most`; away at each attempt of `away`, counted from 0."""

    def __init__(self, bad=(), most=10**9, away=()):
        self.bad, self.most, self.away = frozenset(bad), most, frozenset(away)
        self.attempts = 0
        self.landed = []

    async def __call__(self, part):
        rows = range(part.start, part.end)
        self.attempts += 1
        if self.attempts - 1 in self.away:
            raise tables.unavailable("AWAY", "away")
        if len(rows) > self.most:
            return answers.Refusal(code="HTTP_413", message="too large")
        if self.bad & set(rows):
            return answers.Refusal(code="HTTP_422", message=f"row {min(self.bad & set(rows))}")
        self.landed.extend(rows)
        return None


def rows_of(result):
    return [row for part in result.written_rows for row in range(part.start, part.end)]


def rejected(result):
    return [row.row for row in result.rejected]


async def test_rows_that_are_taken_are_one_request():
    """Catches a happy path that pays for the search."""
    store = Store()
    assert await search.send(500, store) == delivery.WriteResult(written=500)
    assert store.attempts == 1


async def test_a_batch_that_is_too_large_is_halved_until_it_fits_and_is_then_written_as_a_whole():
    """Catches rows dead-lettered for the company they are in, and an order that changes."""
    store = Store(most=100)
    assert await search.send(500, store) == delivery.WriteResult(written=500)
    assert store.landed == list(range(500))
    assert store.attempts == 1 + 2 + 4 + 8


async def test_a_row_that_is_too_large_alone_is_rejected_with_the_endpoints_word():
    """Catches halving without end."""
    result = await search.send(1, Store(most=0))
    assert [(row.row, row.code, row.message) for row in result.rejected] == [(0, "HTTP_413", "too large")]


async def test_nothing_is_sent_for_no_rows():
    """Catches an empty request, which an endpoint may refuse: there is no row to blame."""
    store = Store()
    assert await search.send(0, store) == delivery.WriteResult()
    assert store.attempts == 0


async def test_a_failure_before_anything_is_settled_is_the_callers():
    """Catches an outage that is answered as "nothing written, nothing refused": the lane would ask again without a pause."""
    with pytest.raises(Exception, match="AWAY"):
        await search.send(8, Store(away=[0]))
    with pytest.raises(Exception, match="AWAY"):
        await search.send(8, Store(bad=range(8), away=[2]))


async def test_a_failure_after_a_part_has_landed_keeps_what_is_known():
    """Catches landed halves that are forgotten with the failure and sent again."""
    result = await search.send(8, Store(bad=[7], away=[2]))
    assert (result.written, rows_of(result), rejected(result)) == (4, [0, 1, 2, 3], [])


@hypothesis.settings(max_examples=150)
@hypothesis.given(st.data())
def test_asked_often_enough_every_row_has_its_own_verdict_and_none_lands_twice(data):
    """Catches a verdict on a neighbour, a part sent twice, a budget that loses rows, and an answer that the wire refuses."""
    rows = data.draw(st.integers(1, 120))
    bad = data.draw(st.sets(st.integers(0, rows - 1), max_size=12))
    most = data.draw(st.integers(1, 150))
    away = data.draw(st.sets(st.integers(0, 60), max_size=10))
    names, landed, refused, failures = list(range(rows)), [], [], 0
    attempts = 0
    while names:
        mine = list(names)
        store = Store([at for at, name in enumerate(mine) if name in bad], most, [number - attempts for number in away])
        try:
            result = asyncio.run(search.send(len(mine), store, requests=data.draw(st.integers(40, 64))))
        except Exception:
            failures += 1
            assert failures <= len(away)
            continue
        finally:
            attempts += store.attempts
        wire.check_result(result, len(mine))
        everything = [delivery.Stretch(0, len(mine))] if result.written == len(mine) else result.written_rows
        done = {row for part in everything for row in range(part.start, part.end)}
        assert sorted(done) == store.landed
        landed += [mine[row] for row in sorted(done)]
        refused += [mine[row] for row in rejected(result)]
        settled = done | set(rejected(result))
        assert settled
        names = [name for at, name in enumerate(mine) if at not in settled]
    assert sorted(landed) == [name for name in range(rows) if name not in bad]
    assert sorted(refused) == sorted(bad)


async def test_the_budget_bounds_one_write():
    """Catches a flood of bad rows that holds a lane's slot for a thousand requests."""
    store = Store(bad=range(500))
    result = await search.send(500, store, requests=64)
    assert store.attempts == 64
    assert rejected(result)
