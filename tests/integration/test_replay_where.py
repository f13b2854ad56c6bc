"""Letters that an SQL expression chooses, put back through a lane."""

from __future__ import annotations

import dataclasses

import pytest
from tests.integration import lane_run, test_replay

from penstock.core import letter_condition, selection
from penstock.machine import replays
from penstock.replay import book


async def test_letters_are_chosen_by_an_expression_that_survives_the_control_socket(tmp_path):
    """Catches a condition that is lost on the way to the process that puts letters back, and one that chooses others."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        await test_replay.refused(run)
        wanted = selection.Filters(where=letter_condition.Condition("error_code = 'TEST' OR log_offset < 0 OR ordinal = 7"))
        told = dataclasses.replace(test_replay.order(run), filters=replays.filters(replays.letters_message(wanted)))
        async with run.lane():
            done = await test_replay.replayed(run, told)
        assert (done.published, done.landed) == (1, 1)
        assert await test_replay.states(run) == {"e3": "Outstanding", "e7": "Landed"}


async def test_a_condition_that_fails_on_a_letter_puts_nothing_back(tmp_path):
    """Catches a replay that stops half-way, and one that takes a letter it could not ask about for one that is not meant."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        await test_replay.refused(run)
        wanted = dataclasses.replace(
            test_replay.order(run),
            filters=selection.Filters(where=letter_condition.Condition("ordinal = 3 OR CAST(error_message AS BIGINT) > 0")),
        )
        with pytest.raises(letter_condition.ConditionError, match="fails on the letter"):
            await test_replay.replayed(run, wanted)
        opened = await book.Book.open(run.log)
        assert {one.state.value async for one in opened.letters()} == {"Outstanding"}
