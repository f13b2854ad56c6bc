"""Settings of a lane that a running process is told: in force at once, the older word ignored, and the file's after a restart."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from tests.integration import running

from penstock.api import live, load
from penstock.cli import control, exits
from penstock.v1 import control_pb2


def _text(**sink: Any) -> str:
    first, second = running.sinks()
    return running.changed(sinks=[first | sink, second])


def _sink(text: str) -> Any:
    return load.load_one(text).spec.sinks[0]


def _tell(run: running.Running, **request: Any) -> None:
    with control.connected(run.pipeline.data) as stub:
        stub.Apply(control_pb2.ApplyRequest(sink="warehouse", **request), timeout=30)


def _follow(run: running.Running, text: str, generation: int) -> str:
    """Tell it what this file says; what that is called."""
    sink = _sink(text)
    _tell(run, settings=live.text(sink), settings_version=live.version(sink), generation=generation)
    return live.version(sink)


def _lane(run: running.Running) -> control_pb2.LaneStatus:
    return run.status().lanes[0]


def test_settings_are_in_force_at_once_and_after_a_restart(tmp_path: pathlib.Path) -> None:
    """Catches an edit that needs a restart or is forgotten by one, rows that are lost over it, a word of yesterday that undoes
    today's, and nonsense that stops a lane."""
    held = _text(circuitBreaker={"mode": "ForcedOpen"}, batching={"static": {"rows": 3, "lingerMilliseconds": 20}})
    batching = {"static": {"rows": 4, "lingerMilliseconds": 20}, "limits": {"rows": 4}}
    freed = _text(batching=batching, retry={"unclassifiedAttempts": 2})
    with running.Running(tmp_path) as run:
        run.start()
        assert _lane(run).settings_version == live.version(_sink(running.PIPELINE))
        version = _follow(run, held, 4)
        lane = _lane(run)
        assert (lane.circuit, lane.batching.rows, lane.settings_version) == ("Open", 3, version)
        run.send(running.event(n) for n in range(20))
        running.until(lambda: _lane(run).ledger.events_transformed == 20 or None)
        assert _lane(run).ledger.rows_written == 0
        _follow(run, freed, 3)
        assert _lane(run).settings_version == version
        version = _follow(run, freed, 5)
        run.settled()
        lane = _lane(run)
        assert (lane.circuit, lane.batching.rows, lane.settings_version) == ("Closed", 4, version)
        with pytest.raises(exits.Invalid, match=r"static\.rows"):
            _tell(run, settings='{"batching": {"static": {"rows": -1}}}', settings_version="x", generation=6)
        landed = run.landed()
        assert run.pipeline.stop() == 0
        run.start(freed)
        assert _lane(run).settings_version == version
        run.send([running.event(20)])
        run.settled()
        assert len(run.landed()) > len(landed)


def test_a_circuit_that_others_found_open_opens_and_closes_by_itself(tmp_path: pathlib.Path) -> None:
    """Catches a lane that others' trouble stops for good."""
    with running.Running(tmp_path) as run:
        run.start()
        _tell(run, open_because="2 of 3 batchers find the store away")
        lane = _lane(run)
        assert (lane.circuit, lane.message) == ("Open", "2 of 3 batchers find the store away")
        run.send(running.event(n) for n in range(20))
        run.settled()
        assert _lane(run).ledger.unexplained == 0
