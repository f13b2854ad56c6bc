"""The checker can fail: one history with a fault for each class, and each is found by its class alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from e2e.checker import found, history, verdict

WHOLE = history.WHOLE


def event(id_: str = "a", result: history.Result = "ok", seq: int = 1, **expected: Any) -> history.Event:
    told = history.Expected(**(expected or {"rows": {"0": "d0", "1": "d1"}}))
    return history.Event(id=id_, sha=f"sha-{id_}", key="k", seq=seq, sinks={"store": told}, result=result)


def row(id_: str = "a", place: str = "0", digest: str = "") -> found.Row:
    return found.Row(id=id_, place=place, digest=digest or f"d{place}")


def letter(id_: str = "a", *places: str, sha: str = "", name: str = "", attempt: int = 1) -> found.Letter:
    told = places or (WHOLE,)
    return found.Letter(
        letter=name or f"{id_}/{told}", sink="store", id=id_, sha=sha or f"sha-{id_}", places=told, attempt=attempt
    )


WELL = (row("a", "0"), row("a", "1"))
FATAL = ("lost", "duplicated", "unexpected", "wrongly_dead_lettered", "wrongly_landed", "out_of_order", "commit_ahead", "ledger")


def judged(
    events: list[history.Event],
    rows: tuple[found.Row, ...] = (),
    letters: tuple[found.Letter, ...] = (),
    *,
    ledger: found.Ledger | None = None,
    samples: tuple[found.Sample, ...] = (),
    exactly_once: bool = True,
) -> verdict.Verdict:
    return verdict.judge(
        {one.id: one for one in events},
        {"store": found.Store(rows=rows, ordered=True, exactly_once=exactly_once)},
        letters,
        {"store": ledger} if ledger else None,
        samples,
    )


def bad(of: verdict.Verdict) -> dict[str, int]:
    return {name: getattr(of, name) for name in FATAL if getattr(of, name)}


BOOM = {"letters": frozenset({"0"})}
EVENT_LETTER = {"letters": frozenset({WHOLE})}
LEDGER = found.Ledger(unexplained=0, lost=0, read=3, duplicates=2, dead_lettered_events=0, written=2, dead_lettered_rows=0)


def sample(*ids: str, rows: tuple[tuple[str, str], ...] = (), letters: tuple[tuple[str, str], ...] = ()) -> found.Sample:
    return found.Sample(sink="store", committed=frozenset(ids), rows=frozenset(rows), letters=frozenset(letters))


@pytest.mark.parametrize(
    ("events", "rows", "letters"),
    [
        ([event()], WELL, ()),
        ([event(result="unknown")], WELL, ()),
        ([event(result="unknown")], (), ()),
        ([event(result="fail")], (), ()),
        ([event(**BOOM)], (), (letter("a", "0"),)),
        ([event(**BOOM)], (), (letter("a", "0"), letter("a", "0"))),
        ([event(**EVENT_LETTER)], (), (letter("a"),)),
        ([event(rows={"0": "d0"}, **BOOM)], (row(),), (letter("a", "0"),)),
        ([event(rows={}, letters=frozenset())], (), ()),
        ([event(), event("b", seq=2)], (*WELL, row("b"), row("b", "1")), ()),
    ],
    ids=["landed", "recovered", "never came", "refused", "letter", "same letter twice", "event", "replayed", "no rows", "order"],
)
def test_what_is_as_promised_is_good(
    events: list[history.Event], rows: tuple[found.Row, ...], letters: tuple[found.Letter, ...]
) -> None:
    """Catches a checker that cries wolf: nobody would look at it any more."""
    assert bad(judged(events, rows, letters)) == {}


@pytest.mark.parametrize(
    ("fault", "events", "rows", "letters"),
    [
        ("lost", [event()], (row(),), ()),
        ("lost", [event()], (), ()),
        ("lost", [event(result="unknown")], (row(),), ()),
        ("lost", [event(**BOOM)], (), ()),
        ("lost", [event(rows={"0": "d0"}, **BOOM)], (), (letter("a", "0"),)),
        ("duplicated", [event()], (row(), *WELL), ()),
        ("duplicated", [event(**BOOM)], (), (letter("a", "0"), letter("a", "0", name="another"))),
        ("unexpected", [event()], (*WELL, row("never")), ()),
        ("unexpected", [event()], (*WELL, row("a", "2")), ()),
        ("unexpected", [event()], (row(digest="other"), row("a", "1")), ()),
        ("unexpected", [event(**BOOM)], (), (letter("a", "0"), letter("never", "0"))),
        ("unexpected", [event(**BOOM)], (), (letter("a", "0", sha="other"),)),
        ("wrongly_dead_lettered", [event()], (row(),), (letter("a", "1"),)),
        ("wrongly_dead_lettered", [event()], WELL, (letter("a", "1"),)),
        ("wrongly_dead_lettered", [event()], (), (letter("a"),)),
        ("wrongly_landed", [event(**BOOM)], (row(),), ()),
        ("wrongly_landed", [event(**EVENT_LETTER)], (row(),), (letter("a"),)),
        ("wrongly_landed", [event(result="fail")], WELL, ()),
        ("out_of_order", [event(), event("b", seq=2)], (row(), row("b"), row("b", "1"), row("a", "1")), ()),
        ("out_of_order", [event()], (row("a", "1"), row("a", "0")), ()),
    ],
)
def test_each_fault_is_found_by_its_class_alone(
    fault: str, events: list[history.Event], rows: tuple[found.Row, ...], letters: tuple[found.Letter, ...]
) -> None:
    """Catches a class that is never counted: a fault test whose verdict can't fail."""
    of = judged(events, rows, letters)
    assert list(bad(of)) == [fault]
    assert not of.good
    assert any(example.startswith(fault) for example in of.examples)


def test_a_second_copy_is_only_counted_where_no_better_is_promised() -> None:
    """Catches an at-least-once store judged as if it were exactly-once, or its copies not counted at all."""
    of = judged([event()], (row(), *WELL), exactly_once=False)
    assert (of.repeated, bad(of)) == (1, {})


@pytest.mark.parametrize(
    "sampled",
    [sample("a"), sample("a", rows=(("a", "0"),)), sample("b", "a", rows=(("b", "0"), ("b", "1"), ("a", "1")))],
    ids=["nothing there", "in part", "another one"],
)
def test_a_commit_ahead_of_the_sink_is_found(sampled: found.Sample) -> None:
    """Catches a commit before the sink's answer, which no look at the end can see."""
    events = [event(), event("b", seq=2)]
    of = judged(events, (*WELL, row("b"), row("b", "1")), samples=(sampled,))
    assert bad(of) == {"commit_ahead": 1}


def test_what_is_below_the_commit_and_there_is_fine() -> None:
    """Catches a sample that wants the letter and the row of a replay before the replay has been."""
    both = event(rows={"0": "d0"}, **BOOM)
    of = judged([both], (row(),), (letter("a", "0"),), samples=(sample("a", letters=(("a", "0"),)),))
    assert bad(of) == {}


@pytest.mark.parametrize(
    "change",
    [
        {"unexplained": 1},
        {"lost": 1},
        {"read": 2},
        {"read": 4},
        {"duplicates": 3},
        {"written": 1},
        {"written": 3},
        {"rows_replayed": 1},
        {"dead_lettered_rows": 1},
        {"dead_lettered_events": 1},
    ],
    ids=str,
)
def test_a_ledger_that_disagrees_with_what_is_there_is_found(change: dict[str, int]) -> None:
    """Catches books that balance by themselves and are wrong: a block skipped silently, a row counted twice."""
    assert bad(judged([event()], WELL, ledger=LEDGER)) == {}
    assert bad(judged([event()], WELL, ledger=dataclasses.replace(LEDGER, **change))) == {"ledger": 1}


def test_an_unknown_answer_leaves_the_ledger_room_for_it_and_no_more() -> None:
    """Catches a bound on what was read that an unknown answer makes meaningless."""
    events = [event(), event("b", "unknown", rows={}, letters=frozenset())]
    assert bad(judged(events, WELL, ledger=dataclasses.replace(LEDGER, read=4))) == {}
    assert bad(judged(events, WELL, ledger=dataclasses.replace(LEDGER, read=5))) == {"ledger": 1}
