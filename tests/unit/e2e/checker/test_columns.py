"""The columnar checker can fail: one history with a fault for each class, and each is found by its class alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from e2e.checker import columns, found, verdict

OK, UNKNOWN, SENT = columns.OK | columns.SENT, columns.UNKNOWN | columns.SENT, columns.SENT
FATAL = ("lost", "duplicated", "unexpected", "wrongly_dead_lettered", "wrongly_landed", "commit_ahead", "ledger")
# Event 0 makes two rows, event 1 a letter for its only row, event 2 nothing, event 3 a row.
EXPECTED = columns.Expected(rows=np.array([3, 0, 0, 1], np.uint8), letters=np.array([0, 1, 0, 0], np.uint8))
ALL_OK = (OK, OK, OK, OK)
ROWS = ((0, 0), (0, 1), (3, 0))
LETTERS = (("a", 1, 1),)
LEDGER = found.Ledger(unexplained=0, lost=0, read=5, duplicates=1, dead_lettered_events=0, written=3, dead_lettered_rows=1)


def judged(
    state: tuple[int, ...] = ALL_OK,
    rows: tuple[tuple[int, int], ...] = ROWS,
    letters: tuple[tuple[str, int, int], ...] = LETTERS,
    *,
    bad_rows: tuple[int, ...] = (),
    bad_letters: tuple[int, ...] = (),
    ledger: found.Ledger | None = None,
    samples: tuple[columns.Sample, ...] = (),
    exactly_once: bool = True,
) -> verdict.Verdict:
    placed = np.array(rows, np.int64).reshape(-1, 2)
    lane = columns.Lane(
        expected=EXPECTED,
        rows=columns.Rows(
            number=placed[:, 0], place=placed[:, 1], good=np.array([at not in bad_rows for at in range(len(rows))], np.bool_)
        ),
        letters=columns.Letters(
            letter=[letter for letter, _, _ in letters],
            number=np.array([number for _, number, _ in letters], np.int64),
            bits=np.array([bits for _, _, bits in letters], np.uint8),
            good=np.array([at not in bad_letters for at in range(len(letters))], np.bool_),
        ),
        exactly_once=exactly_once,
        ledger=ledger,
    )
    return columns.judge(np.array(state, np.uint8), {"store": lane}, samples)


def bad(told: verdict.Verdict) -> dict[str, int]:
    return {name: getattr(told, name) for name in FATAL if getattr(told, name)}


def sample(*committed: int, present: tuple[int, ...] = (3, 1, 0, 1)) -> columns.Sample:
    numbers = np.array(committed, np.int64)
    return columns.Sample(sink="store", committed=numbers, present=np.array(present, np.uint8)[numbers])


@pytest.mark.parametrize(
    "told",
    [
        judged(),
        judged(ledger=LEDGER, samples=(sample(0, 1, 2, 3),)),
        judged((OK, OK, OK, UNKNOWN)),
        judged((OK, OK, OK, UNKNOWN), ROWS[:2]),
        judged((OK, OK, SENT, SENT), ROWS[:2]),
        judged(letters=(*LETTERS, *LETTERS)),
        judged(rows=(*ROWS, ROWS[0]), exactly_once=False),
        judged(samples=(sample(0, present=(3, 0, 0, 0)),)),
    ],
    ids=[
        "all well",
        "books and samples too",
        "an unknown one that landed",
        "an unknown one that did not",
        "a refused one",
        "a letter twice",
        "a repeated row where no better was promised",
        "a sample of what was there",
    ],
)
def test_what_may_happen_is_no_fault(told: verdict.Verdict) -> None:
    """Catches a checker that cries wolf: an unknown answer, a refusal and a letter written twice are allowed."""
    assert (told.good, bad(told)) == (True, {})


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        (judged(rows=ROWS[1:]), {"lost": 1}),
        (judged(rows=ROWS[:2]), {"lost": 1}),
        (judged(letters=()), {"lost": 1}),
        (judged((UNKNOWN, OK, OK, OK), ROWS[1:]), {"lost": 1}),
        (judged(rows=(*ROWS, ROWS[0])), {"duplicated": 1}),
        (judged(rows=(*ROWS, *ROWS)), {"duplicated": 3}),
        (judged(letters=(*LETTERS, ("b", 1, 1))), {"duplicated": 1}),
        (judged(rows=(*ROWS, (9, 0))), {"unexpected": 1}),
        (judged(rows=(*ROWS, (-1, 0))), {"unexpected": 1}),
        (judged(rows=(*ROWS, (3, 9))), {"unexpected": 1}),
        (judged(rows=(*ROWS, (3, 1))), {"unexpected": 1}),
        (judged(rows=(*ROWS, (2, 0))), {"unexpected": 1}),
        (judged(bad_rows=(1,)), {"unexpected": 1}),
        (judged((OK, OK, OK, 0)), {"unexpected": 1}),
        (judged(bad_letters=(0,)), {"unexpected": 1}),
        (judged(letters=(*LETTERS, ("b", 9, 1))), {"unexpected": 1}),
        (judged(letters=(*LETTERS, ("b", 2, 1))), {"unexpected": 1}),
        (judged((OK, OK, OK, SENT), ROWS[:2], (*LETTERS, ("b", 3, 1))), {"unexpected": 1, "wrongly_dead_lettered": 1}),
        (judged(letters=(*LETTERS, ("b", 3, 1))), {"wrongly_dead_lettered": 1}),
        (judged(letters=(*LETTERS, ("b", 0, columns.WHOLE))), {"wrongly_dead_lettered": 1}),
        (judged(rows=(*ROWS, (1, 0))), {"wrongly_landed": 1}),
        (judged((OK, OK, OK, SENT)), {"wrongly_landed": 1}),
        (judged(samples=(sample(0, 3, present=(1, 0, 0, 1)),)), {"commit_ahead": 1}),
        (judged(ledger=dataclasses.replace(LEDGER, unexplained=1)), {"ledger": 1}),
        (judged(ledger=dataclasses.replace(LEDGER, lost=1)), {"ledger": 1}),
        (judged(ledger=dataclasses.replace(LEDGER, read=4)), {"ledger": 1}),
        (judged(ledger=dataclasses.replace(LEDGER, written=4)), {"ledger": 1}),
        (judged(ledger=dataclasses.replace(LEDGER, dead_lettered_rows=2)), {"ledger": 1}),
    ],
)
def test_each_fault_is_found_by_its_class_alone(told: verdict.Verdict, fault: dict[str, int]) -> None:
    """Catches a class that nothing falls into, and one fault that is counted as several."""
    assert (told.good, bad(told)) == (False, fault)
    assert told.examples


def test_it_counts_what_was_acknowledged_landed_and_dead_lettered() -> None:
    """Catches a verdict about nothing: all zero is no proof where nothing was sent."""
    told = judged((OK, OK, OK, UNKNOWN))
    assert (told.acknowledged, told.recovered, told.landed, told.dead_lettered) == (3, 1, 3, 1)
