"""A status becomes a picture in which what is wrong can't be overlooked."""

from __future__ import annotations

import json
import pathlib
import tempfile
from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest
import rich.console
from click.testing import CliRunner, Result

from penstock.cli import main
from penstock.cli.showing import status_view
from penstock.machine import directory
from penstock.v1 import control_pb2, control_pb2_grpc


def status(read: int = 1000, written: int = 800, **ledger: int) -> control_pb2.StatusResponse:
    lane = control_pb2.LaneStatus(
        sink="warehouse",
        state="Running",
        circuit="Closed",
        delivery=control_pb2.Delivery(mode="EffectivelyOnce", reason="Transactional"),
        lag=control_pb2.Lag(events=7, oldest_unread_seconds=0.25),
        batching=control_pb2.Batching(
            rows=5000, linger_seconds=0.5, concurrency=2, batches=9, mean_rows=1234.5, latency_p99_seconds=0.7
        ),
        ledger=control_pb2.Ledger(events_read=read, rows_written=written, rows_made=written, **ledger),
        flushes={"cap_linger": 2, "close_line": 7, "revoke": 0},
        dead_letters=control_pb2.DeadLetters(
            outstanding=3, replayed=5, expired=0, by_category={"SinkRejected": 1, "TransformFailed": 2}
        ),
    )
    return control_pb2.StatusResponse(
        namespace="web",
        pipeline="clicks",
        lifecycle="Running",
        uptime_seconds=100,
        cpu_seconds=50,
        log_bytes=3 << 20,
        ingest=control_pb2.IngestStatus(accepted=read, rejected=4),
        lanes=[lane],
    )


def shown(*arguments: object) -> str:
    console = rich.console.Console(width=160, color_system=None)
    with console.capture() as capture:
        console.print(status_view.view(*arguments))  # type: ignore[arg-type]
    return capture.get()


def test_everything_a_person_asks_for_is_there() -> None:
    """Catches a line that is lost when the status grows."""
    text = shown(status())
    for part in (
        "web/clicks", "up 1m 40s", "cpu 50%", "log 3.0 MiB", "4 rejected", "warehouse", "7 events · 250 ms", "5,000 rows",
        "linger 500 ms", "2 in flight", "9 batches of 1,234 rows", "p99 700 ms", "close_line 7 · cap_linger 2", "Closed",
        "EffectivelyOnce · Transactional", "0 lost", "0 unexplained",
        "3 outstanding (2 TransformFailed, 1 SinkRejected) · 5 replayed",
    ):  # fmt: skip
        assert part in text, part
    assert "revoke" not in text


def test_rates_are_differences_over_the_time_between() -> None:
    """Catches an average since the start shown as the present rate."""
    text = shown(status(read=5000, written=10_800), status(read=1000, written=800), 2.0)
    assert "2,000/s events read · 5,000/s rows written" in text


def test_a_pipeline_that_started_again_has_no_negative_rate() -> None:
    """Catches counters that went back."""
    assert "0/s events read · 0/s rows written" in shown(status(read=10, written=5), status(), 2.0)


@pytest.mark.parametrize(
    ("ledger", "said"),
    [({"events_lost": 2}, "warehouse: 2 events are lost"), ({"unexplained": -1}, "warehouse: -1 events or rows are unexplained")],
    ids=str,
)
def test_what_must_never_happen_is_said_first(ledger: dict[str, int], said: str) -> None:
    """Catches a broken ledger that is one number among many."""
    assert shown(status(**ledger)).splitlines()[0].strip() == said


def test_endpoints_second_writes_and_pressure_are_told_where_there_are_some() -> None:
    """Catches a dead replica that nobody sees because the circuit is closed; and words about what a lane does not have."""
    plain = status()
    plain.lanes[0].endpoints.CopyFrom(control_pb2.Endpoints(known=1, well=1))
    assert not any(word in shown(plain) for word in ("endpoints", "hedged", "asks for less"))
    told = status()
    told.lanes[0].MergeFrom(
        control_pb2.LaneStatus(
            endpoints=control_pb2.Endpoints(known=3, well=2),
            hedges=control_pb2.Hedges(sent=12, won=9, withheld=4),
            pressure=2,
        )
    )
    line = "Closed · 2 of 3 endpoints well · hedged 12, 9 won, 4 withheld · store asks for less (step 2)"
    assert line in shown(told)


def test_what_a_topic_is_about_to_delete_is_told_beside_the_lag() -> None:
    """Catches unread records that are nearly gone behind a small number, and words about retention where nothing is deleted."""
    told = status()
    assert "topic" not in shown(told)
    told.lanes[0].lag.retention_used = 0.85
    assert "7 events · 250 ms · 85% of what the topic keeps" in shown(told)


def test_a_halted_lane_says_why() -> None:
    """Catches a lane that stands still behind a healthy picture."""
    halted = status()
    halted.lanes[0].state, halted.lanes[0].message = "Halted", "no column ts"
    assert status_view.alarms(halted) == ["warehouse is halted: no column ts"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 ms"), (0.34, "340 ms"), (12.34, "12.3 s"), (302, "5m 02s"), (11_220, "3h 07m")], ids=str
)
def test_durations_read_well(seconds: float, text: str) -> None:
    """Catches "0.34 s" beside "340 ms"."""
    assert status_view.duration(seconds) == text


class Control(control_pb2_grpc.ControlServicer):
    def __init__(self, answer: control_pb2.StatusResponse) -> None:
        self._answer = answer

    def Status(self, request: object, context: object) -> control_pb2.StatusResponse:  # noqa: N802
        return self._answer


@pytest.fixture
def data() -> Iterator[pathlib.Path]:
    """A data directory; a short path, as sockets want it."""
    with tempfile.TemporaryDirectory() as path:
        (pathlib.Path(path) / "log.db").touch()
        yield pathlib.Path(path)


def top(data: pathlib.Path, answer: control_pb2.StatusResponse, *arguments: str) -> Result:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    control_pb2_grpc.add_ControlServicer_to_server(Control(answer), server)
    server.add_insecure_port(directory.DataDirectory(data).control_address)
    server.start()
    try:
        return CliRunner().invoke(main.cli, ["top", "--data", str(data), *arguments])
    finally:
        server.stop(None).wait()


def test_one_picture_is_printed_and_the_answer_is_yes(data: pathlib.Path) -> None:
    """Catches a live view that never returns where nobody watches."""
    result = top(data, status(), "--once", "--every", "0.01")
    assert result.exit_code == 0
    assert "web/clicks" in result.output


def test_scripts_get_the_whole_status_and_the_answer_no_when_something_is_lost(data: pathlib.Path) -> None:
    """Catches zero values left out of the JSON, and an exit code that hides a loss."""
    result = top(data, status(events_lost=1), "-o", "json")
    assert result.exit_code == 1
    lane = json.loads(result.stdout)["lanes"][0]
    assert (lane["ledger"]["eventsLost"], lane["ledger"]["unexplained"]) == ("1", "0")


def test_nothing_running_is_an_outage_with_a_remedy(data: pathlib.Path) -> None:
    """Catches a gRPC status shown to a person."""
    result = CliRunner().invoke(main.cli, ["top", "--data", str(data), "--once"])
    assert result.exit_code == 3
    assert result.output == f"error: no pipeline runs in {data}\n    start it with penstock run\n"


def test_replayed_letters_are_not_shown_as_if_nothing_had_happened() -> None:
    """Catches letters that look outstanding after a replay has landed them."""
    current = status()
    current.lanes[0].replays.CopyFrom(control_pb2.Replays(letters=3, rows_landed=5, failed_again=1))
    current.lanes[0].dead_letters.CopyFrom(control_pb2.DeadLetters(outstanding=1, replayed=2, by_category={"SinkRejected": 1}))
    assert "1 outstanding (1 SinkRejected) · 2 replayed · 5 rows landed · 1 failed again" in shown(current)


def test_the_lane_of_a_removed_sink_is_shown_with_the_way_out() -> None:
    """Catches a removal that nobody hears of while it holds the log."""
    current = status()
    current.retired.append(control_pb2.RetiredLane(sink="archive", since_microseconds=1, blocks=2, events=20))
    text = shown(current)
    assert "archive was removed" in text
    assert "20 events in 2 blocks unread" in text
    assert "penstock lane drop archive" in text
