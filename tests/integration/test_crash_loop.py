"""The crash-loop guard over real processes: an event that kills what transforms it, and processes killed from outside."""

from __future__ import annotations

import pathlib
from typing import Any

from tests.integration import running

from penstock.cli import background
from penstock.v1 import control_pb2

# `json_contains` walks nested arrays recursively and overruns its stack: a real fault of the engine in an allowed function.
KILLER = "[" * 200_000 + "]" * 200_000
PIPELINE = running.changed(
    sinks=running.only_warehouse(),
    log={"type": "Embedded", "embedded": {"partitions": 1}},
    source={"type": "Ingest", "ingest": {"partitionBy": ["customer"], "maxEventBytes": 1_048_576}},
    transform={"select": [{"name": "id"}, {"name": "has", "value": "json_contains(note, '1')"}]},
)


def _event(number: int, note: str = "[1]") -> dict[str, Any]:
    return {"id": f"e{number}", "customer": 1, "note": note}


def _died_or_idle(run: running.Running) -> str:
    """How a start ends: "died", or "idle" once everything has its outcome."""
    process = run.pipeline.process
    assert process is not None

    def look() -> str | None:
        if process.poll() is not None:
            return "died"
        status = run.pipeline.status()
        return "idle" if status and status.lanes and background.is_idle(status.lanes[0]) else None

    return running.until(look, run.pipeline.log_tail)


def _lane(run: running.Running) -> control_pb2.LaneStatus:
    status = run.pipeline.status()
    assert status is not None
    return status.lanes[0]


def test_an_event_that_kills_the_process_is_dead_lettered_and_its_neighbours_land(tmp_path: pathlib.Path) -> None:
    """Catches a guard that never comes to an end, one that gives up the whole block, and counts that no longer balance."""
    with running.Running(tmp_path, PIPELINE) as run:
        run.start()
        assert run.send([_event(number) for number in range(5)]) == 5
        run.settled()
        # What has landed is committed now and then; only after an end in good order is the number of starts the same each time.
        run.pipeline.stop()
        run.start()
        assert run.send([_event(10), _event(11), _event(12, KILLER), _event(13)]) == 4
        ends = [_died_or_idle(run)]
        while ends[-1] == "died" and len(ends) < 6:
            run.pipeline.spawn()
            ends.append(_died_or_idle(run))
        assert ends == ["died", "died", "died", "idle"], run.pipeline.log_tail()
        lane = _lane(run)
        assert (lane.dead_letters_written, lane.ledger.events_dead_lettered) == (1, 1)
        assert (lane.ledger.unexplained, lane.ledger.events_lost) == (0, 0)
        landed = run.landed("SELECT id FROM orders ORDER BY id")
        assert landed == [(one,) for one in sorted(f"e{number}" for number in [0, 1, 2, 3, 4, 10, 11, 13])]
        said = run.command("dlq", "ls", "--data", str(run.pipeline.data.path), "-o", "json").out
        assert "ProcessKilled" in said
        assert "SIGSEGV" in said


def test_three_quick_kills_from_outside_make_no_dead_letter(tmp_path: pathlib.Path) -> None:
    """Catches a guard that takes a number of starts for a proof."""
    with running.Running(tmp_path, PIPELINE) as run:
        run.start()
        run.command("pause", "--data", str(run.pipeline.data.path))
        run.send([_event(number) for number in range(40)])
        run.pipeline.kill()
        for _ in range(2):
            run.pipeline.start()
            run.pipeline.kill()
        run.start()
        run.settled()
        lane = _lane(run)
        assert (lane.dead_letters_written, lane.ledger.unexplained, lane.ledger.events_lost) == (0, 0, 0)
        assert run.landed("SELECT count(DISTINCT id), count(*) FROM orders") == [(40, 40)]
