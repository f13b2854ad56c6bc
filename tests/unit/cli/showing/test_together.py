"""The statuses of several processes as one."""

from __future__ import annotations

from penstock.cli.showing import together
from penstock.v1 import control_pb2


def _batcher(state: str, read: int, lag: int, circuit: str = "Closed") -> control_pb2.StatusResponse:
    lane = control_pb2.LaneStatus(
        sink="warehouse",
        state=state,
        circuit=circuit,
        lag=control_pb2.Lag(events=lag, oldest_unread_seconds=float(lag), retention_used=lag / 10),
        ledger=control_pb2.Ledger(events_read=read, rows_written=read),
        batching=control_pb2.Batching(batches=read, mean_rows=read),
        flushes={"idle": 1},
        endpoints=control_pb2.Endpoints(known=3, well=3 if state == "Running" else 1),
        hedges=control_pb2.Hedges(sent=2, won=1, withheld=read),
        pressure=read,
    )
    return control_pb2.StatusResponse(pipeline="clicks", lifecycle="Running", lanes=[lane], uptime_seconds=read)


def test_counts_are_added_and_the_worst_of_the_rest_is_shown() -> None:
    """Catches a sum that leaves a process out, and a process in trouble that hides behind one that is well."""
    doors = control_pb2.StatusResponse(pipeline="clicks", ingest=control_pb2.IngestStatus(accepted=9), lifecycle="Running")
    found = together.added([doors, _batcher("Running", 1, 5), _batcher("Halted", 3, 2, "Open")])
    (lane,) = found.lanes
    assert (lane.state, lane.circuit, lane.lag.events, lane.lag.oldest_unread_seconds) == ("Halted", "Open", 7, 5.0)
    assert lane.lag.retention_used == 0.5
    assert (lane.ledger.events_read, lane.ledger.rows_written, lane.flushes["idle"]) == (4, 4, 2)
    assert (lane.batching.batches, lane.batching.mean_rows) == (4, 2.5)
    assert (lane.endpoints.known, lane.endpoints.well, lane.pressure) == (3, 1, 3)
    assert (lane.hedges.sent, lane.hedges.won, lane.hedges.withheld) == (4, 2, 4)
    assert (found.ingest.accepted, found.uptime_seconds) == (9, 3.0)


def test_one_process_is_shown_as_it_is() -> None:
    """Catches a single status that loses a field on the way."""
    only = _batcher("Running", 1, 5)
    assert together.added([only]) is only
