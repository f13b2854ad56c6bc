"""A running pipeline's status as something to look at. Two statuses and the seconds between them in, a renderable out.

Used by `penstock top` and by the demo's live view. What must never happen (events lost or unexplained, a halted lane) is red.
"""

from __future__ import annotations

import time

import rich.box
import rich.console
import rich.panel
import rich.table
import rich.text

from penstock.core import expiry
from penstock.telemetry import stages
from penstock.v1 import control_pb2

_STATE_STYLE = {"Running": "green", "Paused": "yellow", "Halted": "bold red"}
_CIRCUIT_STYLE = {"Open": "bold red", "HalfOpen": "yellow"}


def view(
    status: control_pb2.StatusResponse, earlier: control_pb2.StatusResponse | None = None, seconds: float = 0.0
) -> rich.console.RenderableType:
    """The whole picture. Without an `earlier` status the rates are the averages since the start."""
    lanes = (_lane(lane, _earlier_lane(lane, earlier), _since(status, earlier, seconds)) for lane in status.lanes)
    retired = (_retired(lane, time.time()) for lane in status.retired)
    return rich.console.Group(_head(status, earlier, _since(status, earlier, seconds)), *lanes, *retired)


def alarms(status: control_pb2.StatusResponse) -> list[str]:
    """A sentence for each thing that must never happen and has."""
    found = []
    for lane in status.lanes:
        ledger = lane.ledger
        if ledger.events_lost:
            found.append(f"{lane.sink}: {ledger.events_lost:,} events are lost")
        if ledger.unexplained:
            found.append(f"{lane.sink}: {ledger.unexplained:,} events or rows are unexplained")
        if lane.state == "Halted":
            found.append(f"{lane.sink} is halted: {lane.message}")
    return found


def _since(status: control_pb2.StatusResponse, earlier: control_pb2.StatusResponse | None, seconds: float) -> float:
    return seconds if earlier else status.uptime_seconds


def _earlier_lane(lane: control_pb2.LaneStatus, earlier: control_pb2.StatusResponse | None) -> control_pb2.LaneStatus:
    known = {one.sink: one for one in earlier.lanes} if earlier else {}
    return known.get(lane.sink, control_pb2.LaneStatus())


def _head(
    status: control_pb2.StatusResponse, earlier: control_pb2.StatusResponse | None, seconds: float
) -> rich.console.RenderableType:
    before = earlier or control_pb2.StatusResponse()
    ingest = status.ingest
    accepted = _per_second(ingest.accepted - before.ingest.accepted, seconds)
    cores = _ratio(status.cpu_seconds - before.cpu_seconds, seconds)
    grid = rich.table.Table.grid(padding=(0, 3))
    grid.add_row(
        rich.text.Text(f"{status.namespace}/{status.pipeline}", style="bold"),
        rich.text.Text(status.lifecycle, style=_STATE_STYLE.get(status.lifecycle, "yellow")),
        f"up {duration(status.uptime_seconds)}",
        f"cpu {cores:.0%}",
        f"log {size(status.log_bytes)}",
    )
    grid.add_row(
        "ingest",
        f"{accepted} in",
        f"{ingest.accepted:,} accepted",
        f"{ingest.rejected:,} rejected",
        f"{ingest.refused_requests:,} refused",
    )
    above = [rich.text.Text(alarm, style="bold red") for alarm in alarms(status)]
    if status.message:
        above.append(rich.text.Text(status.message, style="yellow"))
    return rich.console.Group(*above, grid, *_phases(status, before))


def _phases(status: control_pb2.StatusResponse, before: control_pb2.StatusResponse) -> list[rich.text.Text]:
    """What each stage took of an event that was read since, or since the start where none was."""
    if _events_read(status) == _events_read(before):
        before = control_pb2.StatusResponse()
    events = _events_read(status) - _events_read(before)
    spent = {name: status.stage_seconds[name] - before.stage_seconds.get(name, 0.0) for name in status.stage_seconds}
    known = [name for name in stages.ORDER if spent.get(name, 0.0) > 0.0]
    if events <= 0 or not known:
        return []
    told = " · ".join(f"{name} {spent[name] / events * 1e6:,.2f}" for name in known)
    return [rich.text.Text(f"µs per event   {told}", style="dim")]


def _events_read(status: control_pb2.StatusResponse) -> int:
    return sum(lane.ledger.events_read for lane in status.lanes)


def _lane(lane: control_pb2.LaneStatus, before: control_pb2.LaneStatus, seconds: float) -> rich.console.RenderableType:
    state = rich.text.Text(lane.state or "Unknown", style=_STATE_STYLE.get(lane.state, "yellow"))
    title = rich.text.Text.assemble((lane.sink, "bold"), "  ", state, f"  {lane.message}" if lane.message else "")
    grid = rich.table.Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    for name, value in _lane_lines(lane, before, seconds):
        grid.add_row(name, value)
    style = "red" if _broken(lane) else "none"
    return rich.panel.Panel(grid, title=title, title_align="left", box=rich.box.ROUNDED, border_style=style)


def _broken(lane: control_pb2.LaneStatus) -> bool:
    return bool(lane.ledger.events_lost or lane.ledger.unexplained or lane.state == "Halted")


def _lane_lines(lane: control_pb2.LaneStatus, before: control_pb2.LaneStatus, seconds: float) -> list[tuple[str, rich.text.Text]]:
    batching, ledger = lane.batching, lane.ledger
    read = _per_second(ledger.events_read - before.ledger.events_read, seconds)
    written = _per_second(ledger.rows_written - before.ledger.rows_written, seconds)
    circuit = rich.text.Text(lane.circuit or "-", style=_CIRCUIT_STYLE.get(lane.circuit, "none")).append_text(_endpoints(lane))
    target = f"{batching.rows:,} rows · linger {batching.linger_seconds * 1000:,.0f} ms · {batching.concurrency} in flight"
    made = f"{batching.batches:,} batches of {batching.mean_rows:,.0f} rows · p99 {batching.latency_p99_seconds * 1000:,.0f} ms"
    return [
        ("rate", rich.text.Text(f"{read} events read · {written} rows written")),
        ("lag", _lag(lane.lag)),
        ("batch", rich.text.Text(target)),
        ("made", rich.text.Text(made)),
        ("closed by", rich.text.Text(_flushes(lane))),
        ("circuit", circuit),
        ("delivery", rich.text.Text(" · ".join(filter(None, (lane.delivery.mode, lane.delivery.reason))) or "-")),
        ("events", _events(ledger)),
        ("rows", _rows(ledger)),
        ("dead", _dead(lane)),
    ]


def _lag(lag: control_pb2.Lag) -> rich.text.Text:
    """Of a topic that others write also how much of what it keeps is used up; red where somebody should act."""
    text = rich.text.Text(f"{lag.events:,} events · {duration(lag.oldest_unread_seconds)}")
    if lag.retention_used >= 0.005:
        style = "red" if lag.retention_used >= expiry.NEAR else "none"
        text.append(f" · {min(lag.retention_used, 1.0):.0%} of what the topic keeps", style=style)
    return text


def _endpoints(lane: control_pb2.LaneStatus) -> rich.text.Text:
    """What there is to say of several endpoints, of second writes, and of a store that asks for less."""
    seen, hedges = lane.endpoints, lane.hedges
    text = rich.text.Text()
    if seen.known > 1:
        text.append(f" · {seen.well} of {seen.known} endpoints well", style="yellow" if seen.well < seen.known else "none")
    if hedges.sent or hedges.withheld:
        text.append(f" · hedged {hedges.sent:,}, {hedges.won:,} won, {hedges.withheld:,} withheld")
    if lane.pressure:
        text.append(f" · store asks for less (step {lane.pressure})", style="yellow")
    return text


def _dead(lane: control_pb2.LaneStatus) -> rich.text.Text:
    """What waits and why, and what became of the others; yellow while some wait."""
    counts, replays = lane.dead_letters, lane.replays
    by_count = sorted(counts.by_category.items(), key=lambda category: (-category[1], category[0]))
    why = ", ".join(f"{count:,} {category}" for category, count in by_count)
    parts = [f"{counts.outstanding:,} outstanding" + (f" ({why})" if why else "")]
    others = {"replayed": counts.replayed, "discarded": counts.discarded, "expired": counts.expired}
    others |= {"rows landed": replays.rows_landed, "failed again": replays.failed_again, "in flight": replays.in_flight}
    parts += [f"{count:,} {name}" for name, count in others.items() if count]
    return rich.text.Text(" · ".join(parts), style="yellow" if counts.outstanding else "none")


def _retired(lane: control_pb2.RetiredLane, now: float) -> rich.text.Text:
    age = duration(max(0.0, now - lane.since_microseconds / 1e6))
    return rich.text.Text(
        f"{lane.sink} was removed {age} ago; {lane.events:,} events in {lane.blocks:,} blocks unread"
        f" are kept for a day (penstock lane drop {lane.sink})",
        style="yellow",
    )


def _flushes(lane: control_pb2.LaneStatus) -> str:
    by_count = sorted(lane.flushes.items(), key=lambda reason: (-reason[1], reason[0]))
    return " · ".join(f"{reason} {count:,}" for reason, count in by_count if count) or "-"


def _events(ledger: control_pb2.Ledger) -> rich.text.Text:
    parts = {
        "read": ledger.events_read,
        "transformed": ledger.events_transformed,
        "duplicate": ledger.events_duplicate,
        "dead": ledger.events_dead_lettered,
        "in flight": ledger.events_in_flight,
    }
    text = rich.text.Text(" · ".join(f"{count:,} {name}" for name, count in parts.items()))
    return text.append(" · ").append(f"{ledger.events_lost:,} lost", style="bold red" if ledger.events_lost else "green")


def _rows(ledger: control_pb2.Ledger) -> rich.text.Text:
    parts = {
        "made": ledger.rows_made,
        "written": ledger.rows_written,
        "filtered": ledger.rows_filtered,
        "other lanes": ledger.rows_other_lanes,
        "dead": ledger.rows_dead_lettered,
        "in flight": ledger.rows_in_flight,
    }
    always = ("made", "written", "filtered", "dead")
    text = rich.text.Text(" · ".join(f"{count:,} {name}" for name, count in parts.items() if count or name in always))
    return text.append(" · ").append(f"{ledger.unexplained:,} unexplained", style="bold red" if ledger.unexplained else "green")


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _per_second(count: int, seconds: float) -> str:
    # A counter that went back means that the pipeline started again in between.
    rate = _ratio(max(0, count), seconds)
    return f"{rate:,.0f}/s" if rate < 10_000 else f"{rate / 1000:,.0f}k/s"


def duration(seconds: float) -> str:
    """`340 ms`, `12.3 s`, `5m 02s`, `3h 07m`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m {rest:02}s" if minutes < 60 else f"{minutes // 60}h {minutes % 60:02}m"


def size(count: int) -> str:
    """Bytes in the largest binary unit that leaves a number of at least 1."""
    value, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:,.1f} {units[0]}" if units[0] != "B" else f"{count} B"
