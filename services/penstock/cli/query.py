"""`penstock query`: SQL over the landed table, whether the pipeline runs or not."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import click
import pyarrow as pa
from pyarrow import ipc

from penstock.api.model import pipeline as api_pipeline
from penstock.api.model import sinks as api_sinks
from penstock.cli import control, exits
from penstock.cli.showing import result_text
from penstock.core import results
from penstock.machine import directory
from penstock.sinks import port as sinks_port
from penstock.v1 import control_pb2

_TIMEOUT_SECONDS = 300.0

EPILOG = """\b
Examples:
  penstock query 'SELECT count(*) FROM clicks'
  penstock query 'SELECT type, count(*) AS n FROM clicks GROUP BY type' -o csv
  penstock query 'SELECT * FROM clicks LIMIT 5' --data .penstock/web/clickstream --sink warehouse -o json

\b
Exit codes:
  0 answered · 1 the SQL can't run · 3 there is nothing to ask
"""


@click.command(epilog=EPILOG, short_help="Ask the landed table in SQL.")
@click.argument("sql")
@click.option("--data", type=click.Path(path_type=pathlib.Path), help="Data directory.  [default: the only one in ./.penstock]")
@click.option("--sink", default="", help="Name of the sink.  [default: the only one that can be asked]")
@click.option(
    "-o", "--output", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True, help="Form of the answer."
)
def query(sql: str, data: pathlib.Path | None, sink: str, output: str) -> None:
    """Run SQL over the table a pipeline lands its rows in, and print every value in full."""
    answer = ask(control.find(data), sql, sink)
    for line in result_text.FORMS[output](answer):
        click.echo(line)


def ask(where: directory.DataDirectory, sql: str, sink: str = "") -> pa.Table:
    """The answer, from the running pipeline if there is one, else from its file. Raises Invalid, Unreachable."""
    try:
        return _ask_running(where, sql, sink)
    except control.NotRunningError:
        return _ask_file(where.folder() / _database(where, sink), sql)


def _ask_running(where: directory.DataDirectory, sql: str, sink: str) -> pa.Table:
    with control.connected(where) as stub:
        replies = stub.Query(control_pb2.QueryRequest(sink=sink, sql=sql), timeout=_TIMEOUT_SECONDS)
        stream = b"".join(reply.chunk for reply in replies)
    with ipc.open_stream(stream) as reader:
        return reader.read_all()


def _ask_file(path: pathlib.Path, sql: str) -> pa.Table:
    if not path.exists():
        remedy = "put it back there, or ask while the pipeline runs; a relative path begins where penstock run was started"
        raise exits.Unreachable(f"{path.absolute()} is not there: nothing has landed yet, or it is elsewhere", remedy)
    # Here and not above: a pipeline that runs is asked without the extra that brings DuckDB.
    from penstock.sinks.duckdb import query as duckdb_query
    from penstock.sinks.duckdb import store as duckdb_store

    try:
        return duckdb_query.run(duckdb_store.open_read_only(path), sql)
    except sinks_port.SinkError as error:
        kind = exits.Unreachable if error.failure.result_class is results.ResultClass.OUTAGE else exits.Invalid
        raise kind(error.failure.message, error.failure.remedy) from error


def _database(where: directory.DataDirectory, sink: str) -> pathlib.Path:
    """The file the pipeline that ran here last lands in."""
    pipeline = where.pinned()
    if pipeline is None:
        raise exits.Unreachable(f"no pipeline has been accepted in {where.path} yet", "start one with penstock run")
    asked = dict(_databases(pipeline))
    if sink in asked:
        return asked[sink]
    if sink or len(asked) != 1:
        named = f"no sink {sink!r} that can be asked" if sink else f"{len(asked)} sinks can be asked"
        raise exits.Invalid(f"{named} in {pipeline.metadata.name}", f"choose with --sink: {', '.join(asked) or 'none is DuckDB'}")
    return next(iter(asked.values()))


def _databases(pipeline: api_pipeline.BatchPipeline) -> Iterator[tuple[str, pathlib.Path]]:
    return ((sink.name, pathlib.Path(sink.duckdb.path)) for sink in _sinks(pipeline) if sink.duckdb)


def _sinks(pipeline: api_pipeline.BatchPipeline) -> tuple[api_sinks.Sink, ...]:
    return pipeline.spec.sinks
