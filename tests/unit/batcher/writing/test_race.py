"""The same work begun twice."""

from __future__ import annotations

import asyncio
import math

import pytest

from penstock.batcher.writing import race

_SOON = 0.001


class _Work:
    """Ends when it is told to, with what it is told; knows whether it was cancelled."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.begun = self.cancelled = False

    async def run(self) -> str:
        self.begun = True
        try:
            return await self.answer
        except asyncio.CancelledError:
            self.cancelled = True
            raise


def _good(answer: str) -> bool:
    return answer.startswith("good")


async def _begun(work: _Work) -> None:
    async with asyncio.timeout(60):
        while not work.begun:  # noqa: ASYNC110 - what is waited for can not notify
            await asyncio.sleep(0)


async def _raced(first: _Work, second: _Work) -> asyncio.Task[race.Finish[str]]:
    """A race in which both are under way."""
    run = asyncio.create_task(race.run(first.run(), seconds=_SOON, second=second.run, good=_good))
    await _begun(second)
    return run


async def test_a_first_that_ends_in_time_is_alone():
    """Catches a second write for every first one."""
    first, second = _Work(), _Work()
    first.answer.set_result("good")
    end = await race.run(first.run(), seconds=30.0, second=second.run, good=_good)
    assert (end.value, end.second, end.overtaken, second.begun) == ("good", False, False, False)


@pytest.mark.parametrize("seconds", [math.inf, _SOON], ids=["never due", "nobody to ask"])
async def test_a_first_without_a_second_is_waited_for(seconds):
    """Catches a question before anything is known, and a write that is given up because nobody takes its second."""
    first, asked = _Work(), asyncio.Event()

    def nobody() -> None:
        asked.set()

    run = asyncio.create_task(race.run(first.run(), seconds=seconds, second=nobody, good=_good))
    await (asked.wait() if seconds == _SOON else asyncio.sleep(0))
    first.answer.set_result("good")
    assert (await run).value == "good"
    assert asked.is_set() == (seconds == _SOON)


async def test_the_first_is_asked_for_again_while_there_is_no_second():
    """Catches a straggler that is never sent again because the budget was spent in the moment it became late."""
    first, second, asked = _Work(), _Work(), []

    def at_the_third_time() -> object:
        asked.append(None)
        return second.run() if len(asked) == 3 else None

    run = asyncio.create_task(race.run(first.run(), seconds=_SOON, second=at_the_third_time, good=_good))
    await _begun(second)
    second.answer.set_result("good")
    assert (await run).second


@pytest.mark.parametrize("winner", [0, 1])
async def test_the_first_good_answer_ends_the_other(winner):
    """Catches a loser that runs on, and one whose answer is taken."""
    works = [_Work(), _Work()]
    run = await _raced(*works)
    works[winner].answer.set_result(f"good {winner}")
    end = await run
    assert (end.value, end.second, end.overtaken) == (f"good {winner}", winner == 1, winner == 1)
    assert works[1 - winner].cancelled


@pytest.mark.parametrize("early", [0, 1])
async def test_a_refusal_or_failure_decides_nothing_while_the_other_is_under_way(early):
    """Catches rows that are dead-lettered, or sent again in other pieces, while the other copy lands them."""
    for how in ("refused", "failed"):
        works = [_Work(), _Work()]
        run = await _raced(*works)
        answer = works[early].answer
        answer.set_result("refused") if how == "refused" else answer.set_exception(OSError(how))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not run.done()
        works[1 - early].answer.set_result("good")
        assert (await run).value == "good"


async def test_a_refusal_is_better_than_a_failure_and_the_firsts_failure_is_the_one_that_is_told():
    """Catches a result that is lost behind an error, and the second's error, which the circuit would take for the lane's."""
    works = [_Work(), _Work()]
    run = await _raced(*works)
    works[0].answer.set_exception(OSError("first"))
    works[1].answer.set_result("refused")
    assert (await run).value == "refused"
    works = [_Work(), _Work()]
    run = await _raced(*works)
    works[1].answer.set_exception(ValueError("second"))
    works[0].answer.set_exception(OSError("first"))
    with pytest.raises(OSError, match="first"):
        await run


async def test_a_race_that_is_cancelled_leaves_nothing_running():
    """Catches writes that go on after their partition was revoked."""
    works = [_Work(), _Work()]
    run = await _raced(*works)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert [work.cancelled for work in works] == [True, True]
