"""`penstock test`: what a pipeline makes of a file of events, without a log, a store or anything left behind.

The events go through the same parser and the same transform as in a running pipeline, once for each sink. Deduplication is
left out: it is about the log, not about an event. State of keys begins with the first line, as on a log of one partition.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import click
import numpy as np
import pyarrow as pa

from penstock.api import load, lower
from penstock.api.model import pipeline
from penstock.cli import exits, ndjson
from penstock.cli.showing import result_text
from penstock.core import blocks, errors, parse
from penstock.core.state import table as state_table
from penstock.core.transform import spec, transform

EPILOG = """\b
Examples:
  penstock test pipeline.yaml events.ndjson
  penstock test pipeline.yaml events.ndjson --sink warehouse --rows 100
  head -1000 events.ndjson | penstock test pipeline.yaml - -o json | jq 'select(.kind == "failed")'

\b
Exit codes:
  0 every event made its rows · 1 an event was rejected, a row failed, or the pipeline is invalid · 2 the command line is wrong
"""

_EVENTS_AT_ONCE = 10_000
_BYTES_AT_ONCE = 16 << 20
_HIDDEN = (spec.EVENT_COLUMN, spec.ITEM_COLUMN, spec.TABLE_COLUMN)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One sink of the pipeline and its compiled transform."""

    sink: str
    transform: transform.Transform


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """An event that the door would refuse."""

    line: int
    field: str
    reason: str
    remedy: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What one lane made of some events; `lines` has the line of each event."""

    sink: str
    lines: Sequence[int]
    transformed: spec.Transformed


@click.command(epilog=EPILOG, short_help="Try a pipeline on a file of events; print rows and rejects.")
@click.argument("pipeline_file", metavar="PIPELINE", type=click.Path(exists=True, dir_okay=False))
@click.argument("events_file", metavar="EVENTS", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--sink", "only", help="Run the lane of this sink only.")
@click.option("--rows", "most_rows", type=click.IntRange(min=0), default=20, show_default=True, help="Rows to print per sink.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: one object per line, all rows.",
)
def test(pipeline_file: str, events_file: str, only: str | None, most_rows: int, output: str) -> None:
    """Run the events of EVENTS (one JSON object to a line, "-" is the standard input) through PIPELINE."""
    described = _pipeline(pipeline_file)
    lanes = _lanes(described, only)
    report: _Text | _Json = _Json(lanes) if output == "json" else _Text(lanes, most_rows)
    with sys.stdin.buffer if events_file == "-" else pathlib.Path(events_file).open("rb") as stream:
        for found in _outcomes(described, lanes, stream.fileno()):
            for line in report.add(found):
                click.echo(line)
    for line in report.end():
        click.echo(line)
    if report.is_bad:
        sys.exit(exits.INVALID)


def _pipeline(file: str) -> pipeline.BatchPipeline:
    """The pipeline, its SQL checked. Raises InvalidPipelineError."""
    from penstock.core.transform import compile as compiler

    raw = pathlib.Path(file).read_bytes()
    described = load.load_one(raw, file=file)
    loaded = load.read(raw, file=file)[0]
    found = [problem for sink in described.spec.sinks for problem in compiler.check(lower.transform_spec(described, sink))]
    if found:
        raise errors.InvalidPipelineError(list(dict.fromkeys(loaded.located(problem) for problem in found)))
    return described


def _lanes(described: pipeline.BatchPipeline, only: str | None) -> list[Lane]:
    names = [sink.name for sink in described.spec.sinks]
    if only is not None and only not in names:
        raise exits.Invalid(f'there is no sink "{only}"', f"sinks here: {', '.join(names)}")
    return [
        Lane(sink=sink.name, transform=transform.Transform(lower.transform_spec(described, sink)))
        for sink in described.spec.sinks
        if only in (None, sink.name)
    ]


def _outcomes(described: pipeline.BatchPipeline, lanes: Sequence[Lane], descriptor: int) -> Iterator[Rejected | Made]:
    parser = parse.EventParser(lower.event_schema(described), lower.ingest(described).max_event_bytes)
    reader = ndjson.LineReader(descriptor, events=_EVENTS_AT_ONCE, max_bytes=_BYTES_AT_ONCE)
    told, first = lower.state(described), 0
    keyed = state_table.StateTable(told) if told else None
    for documents in reader.batches():
        parsed = parser.parse(documents)
        for refused in parsed.rejected:
            line = reader.line_of(first + refused.index)
            yield Rejected(line=line, field=refused.field, reason=refused.reason, remedy=refused.remedy)
        lines = [reader.line_of(first + int(index)) for index in parsed.accepted]
        table = _with_state(_group(parsed.batch), parsed.batch, keyed)
        for lane in lanes:
            made = lane.transform.run(table.select([*lane.transform.input_columns, spec.EVENT_COLUMN]))
            yield Made(sink=lane.sink, lines=lines, transformed=made)
        first += len(documents)
    for line in reader.oversized_lines:
        limit = f"{ndjson.LARGEST_EVENT_BYTES:,}"
        yield Rejected(line=line, field="", reason=f"longer than {limit} bytes", remedy="send it in parts")


def _with_state(table: pa.Table, batch: pa.RecordBatch, keyed: state_table.StateTable | None) -> pa.Table:
    """And what the lines before each event say of its key."""
    if keyed is None:
        return table
    found = keyed.see(batch, np.ones(batch.num_rows, bool))
    for value, column in zip(keyed.spec.values, found, strict=True):
        table = table.append_column(value.column.with_name(value.hidden), column)
    return table


def _group(batch: pa.RecordBatch) -> pa.Table:
    """The events as a lane would read them from a block."""
    came = pa.array(np.full(batch.num_rows, time.time_ns() // 1000), pa.timestamp("us", tz="UTC"))
    numbers = pa.array(np.arange(batch.num_rows, dtype=np.int32))
    table = pa.Table.from_batches([batch])
    return table.append_column(blocks.RECEIVED_AT, came).append_column(spec.EVENT_COLUMN, numbers)


class _Tally:
    """What both forms of the answer count."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self.rejected = 0
        self.counts = {lane.sink: collections.Counter[str]() for lane in lanes}

    def add(self, made: Made) -> None:
        told = made.transformed
        self.counts[made.sink].update(
            events=len(told.made),
            rows=told.rows.num_rows,
            filtered=int(told.filtered.sum()),
            other_lanes=int(told.other_lanes.sum()),
            failed=len(told.failures),
        )

    @property
    def is_bad(self) -> bool:
        return bool(self.rejected) or any(counts["failed"] for counts in self.counts.values())


class _Text:
    """Refusals as they come; at the end the first rows of each sink, what failed, and the counts."""

    def __init__(self, lanes: Sequence[Lane], most_rows: int) -> None:
        self._tally, self._most_rows = _Tally(lanes), most_rows
        self._rows: dict[str, list[pa.Table]] = {lane.sink: [] for lane in lanes}

    @property
    def is_bad(self) -> bool:
        return self._tally.is_bad

    def add(self, found: Rejected | Made) -> Iterator[str]:
        if isinstance(found, Rejected):
            self._tally.rejected += 1
            yield f"line {found.line}: rejected: {found.field + ': ' if found.field else ''}{found.reason}; {found.remedy}"
            return
        self._tally.add(found)
        wanted = self._most_rows - sum(table.num_rows for table in self._rows[found.sink])
        if wanted > 0 or not self._rows[found.sink]:
            self._rows[found.sink].append(_shown(found, max(wanted, 0)))
        for failure in found.transformed.failures:
            place = f"line {found.lines[failure.event]}, item {failure.item}"
            yield f"{place}: {found.sink}: failed: {failure.expression}: {failure.message}"

    def end(self) -> Iterator[str]:
        for sink, counts in self._tally.counts.items():
            shown = pa.concat_tables(self._rows[sink]) if self._rows[sink] else None
            if shown is not None and shown.num_rows:
                yield ""
                yield f"{sink}: {'the first ' if shown.num_rows < counts['rows'] else ''}{_counted(shown.num_rows, 'row')}"
                yield from list(result_text.as_table(shown))[:-1]
            parts = [
                f"{counts['filtered']:,} filtered",
                f"{counts['other_lanes']:,} left to other sinks",
                f"{counts['failed']:,} failed",
            ]
            yield ""
            yield f"{sink}: {_counted(counts['events'], 'event')} → {_counted(counts['rows'], 'row')}, {', '.join(parts)}"
        if self._tally.rejected:
            yield f"{_counted(self._tally.rejected, 'event')} rejected"


class _Json:
    """Every row, failure and refusal as an object of its own; the counts last."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._tally = _Tally(lanes)

    @property
    def is_bad(self) -> bool:
        return self._tally.is_bad

    def add(self, found: Rejected | Made) -> Iterator[str]:
        if isinstance(found, Rejected):
            self._tally.rejected += 1
            yield _encoded({"kind": "rejected"} | dataclasses.asdict(found))
            return
        self._tally.add(found)
        rows = found.transformed.rows
        hidden = [name for name in _HIDDEN if name in rows.column_names]
        places = rows.select(hidden).to_pylist()
        for place, row in zip(places, result_text.as_objects(rows.drop_columns(hidden)), strict=True):
            yield _encoded({"kind": "row", "sink": found.sink} | _place(found, place))[:-1] + f', "row": {row}}}'
        for failure in found.transformed.failures:
            place = {"sink": found.sink, "line": found.lines[failure.event], "item": failure.item}
            yield _encoded({"kind": "failed"} | place | {"expression": failure.expression, "message": failure.message})

    def end(self) -> Iterator[str]:
        lanes = [{"sink": sink} | dict(counts) for sink, counts in self._tally.counts.items()]
        yield _encoded({"kind": "summary", "rejected": self._tally.rejected, "sinks": lanes})


def _shown(made: Made, most: int) -> pa.Table:
    """The first rows as people see them: the line each came from in front, the hidden columns gone."""
    rows = made.transformed.rows.slice(0, most)
    lines = pa.array([made.lines[event] for event in rows.column(spec.EVENT_COLUMN).to_numpy()], pa.int64())
    plain = rows.drop_columns([spec.EVENT_COLUMN, spec.ITEM_COLUMN])
    if spec.TABLE_COLUMN in plain.column_names:
        plain = plain.rename_columns(["→ table" if name == spec.TABLE_COLUMN else name for name in plain.column_names])
    return plain.add_column(0, "line", lines)


def _place(made: Made, hidden: dict[str, Any]) -> dict[str, Any]:
    table = {"table": hidden[spec.TABLE_COLUMN]} if spec.TABLE_COLUMN in hidden else {}
    return {"line": made.lines[hidden[spec.EVENT_COLUMN]], "item": hidden[spec.ITEM_COLUMN]} | table


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _encoded(found: dict[str, Any]) -> str:
    return json.dumps(found, ensure_ascii=False)
