"""What clients wrote down: attempts at one event are one event."""

from __future__ import annotations

import pathlib

import pytest
from e2e.checker import history


def sent(result: history.Result, sha: str = "s", id_: str = "a") -> history.Sent:
    return history.Sent(
        id=id_, sha=sha, sent=1.0, answered=2.0, result=result, sinks={"store": history.Expected(rows={"0": "d"})}
    )


@pytest.mark.parametrize(
    ("attempts", "result"),
    [
        (["ok"], "ok"),
        (["unknown", "ok"], "ok"),
        (["ok", "unknown"], "ok"),
        (["fail", "unknown"], "unknown"),
        (["unknown", "fail"], "unknown"),
        (["fail", "fail"], "fail"),
    ],
    ids=str,
)
def test_an_event_is_as_certain_as_its_best_attempt(attempts: list[history.Result], result: str) -> None:
    """Catches the last answer taken for the whole truth: an acknowledged event that was sent again in vain, given up."""
    (event,) = history.events(map(sent, attempts)).values()
    assert (event.result, event.attempts) == (result, len(attempts))


def test_one_id_with_two_payloads_is_the_test_s_own_fault() -> None:
    """Catches clients that share ids: whatever were found, it could be explained."""
    with pytest.raises(history.HistoryError, match="two payloads"):
        history.events([sent("ok"), sent("ok", sha="other")])


def test_what_is_written_is_read_back(tmp_path: pathlib.Path) -> None:
    """Catches an expectation lost on the way: nothing expected is never missing."""
    for name in ("client-0.jsonl", "client-1.jsonl"):
        writer = history.Writer(tmp_path / name)
        writer.add([sent("ok", id_=name), sent("unknown", id_=name)])
        writer.close()
    read = history.read(tmp_path.glob("*.jsonl"))
    assert read == [sent(result, id_=name) for name in ("client-0.jsonl", "client-1.jsonl") for result in ("ok", "unknown")]
