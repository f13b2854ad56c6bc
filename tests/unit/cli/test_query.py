"""An answer in full, from the running pipeline or from the file it left."""

from __future__ import annotations

import datetime
import decimal
import io
import json
import pathlib
import tempfile
from collections.abc import Iterator
from concurrent import futures

import duckdb
import grpc
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from pyarrow import ipc

from penstock.api import load
from penstock.cli import main
from penstock.cli.showing import result_text
from penstock.machine import directory
from penstock.v1 import control_pb2, control_pb2_grpc

ANSWER = pa.table(
    {
        "name": ["a,b", "line\nbreak", None],
        "n": pa.array([1, 22, None], pa.int64()),
        "big": pa.array([decimal.Decimal(10**37), decimal.Decimal(1), None], pa.decimal128(38, 0)),
        "f": pa.array([0.1 + 0.2, float("inf"), None]),
        "at": pa.array([datetime.datetime(2026, 1, 1, 0, 0, 0, 123456), None, None], pa.timestamp("us")),
        "ns": pa.array([1, None, None], pa.timestamp("ns")),
        "raw": pa.array([b"\x00\xff", None, None]),
        "list": pa.array([[{"x": 1}], [], None]),
    }
)


def lines(form: str, answer: pa.Table = ANSWER) -> list[str]:
    return list(result_text.FORMS[form](answer))


def test_a_table_is_aligned_and_rounds_nothing() -> None:
    """Catches a float or a large sum shown with fewer digits than it has."""
    head, rule, first, second, third, count = lines("table")
    assert len(rule) == len(head.ljust(len(rule)))
    for value in (
        "a,b",
        "10000000000000000000000000000000000000",
        "0.30000000000000004",
        "00:00:00.123456",
        "00:00:00.000000001",
        "00ff",
        '[{"x":1}]',
    ):
        assert value in first
    assert second.startswith(r"line\nbreak    22 ")
    assert third.startswith("NULL")
    assert count == "(3 rows)"


def test_json_keeps_every_digit_and_has_no_infinity() -> None:
    """Catches a number that becomes a float on the way, and JSON that no parser reads."""
    text = "\n".join(lines("json"))
    first, second, third = json.loads(text, parse_float=decimal.Decimal)
    assert (first["big"], first["f"], first["raw"]) == (10**37, decimal.Decimal("0.30000000000000004"), "AP8=")
    assert (second["f"], second["name"], second["list"]) == (None, "line\nbreak", [])
    assert set(third.values()) == {None}


def test_csv_quotes_what_must_be_quoted_and_keeps_columns_of_one_name() -> None:
    """Catches a comma that makes a column, and a second column of the same name that disappears."""
    assert lines("csv", ANSWER.select(["name", "n"]))[:2] == ["name,n", '"a,b",1']
    assert lines("csv", pa.table([pa.array([1]), pa.array([2])], names=["x", "x"])) == ["x,x", "1,2"]


def test_an_answer_without_rows_is_still_an_answer() -> None:
    """Catches the maximum of nothing."""
    empty = ANSWER.slice(0, 0).select(["n"])
    assert lines("table", empty) == ["n", "─", "(0 rows)"]
    assert lines("json", empty) == ["[]"]
    assert lines("csv", empty) == ["n"]


PIPELINE = """
apiVersion: penstock.dev/v1alpha1
kind: BatchPipeline
metadata: {name: clicks}
spec:
  sinks:
    - {name: warehouse, type: DuckDB, duckDB: {path: "PATH", table: clicks}}
"""


@pytest.fixture
def data() -> Iterator[pathlib.Path]:
    """A data directory whose pipeline has landed three rows and does not run."""
    with tempfile.TemporaryDirectory() as path:
        root = pathlib.Path(path)
        (root / "log.db").touch()
        where = directory.DataDirectory(root)
        where.pin(load.load_one(PIPELINE.replace("PATH", str(root / "out.db"))), root)  # type: ignore[arg-type]
        with duckdb.connect(str(root / "out.db")) as connection:
            connection.execute("CREATE TABLE clicks AS SELECT range AS n FROM range(3)")
        yield root


def query(data: pathlib.Path, sql: str, *arguments: str) -> Result:
    return CliRunner().invoke(main.cli, ["query", sql, "--data", str(data), *arguments])


def test_a_pipeline_that_does_not_run_is_asked_through_its_file(data: pathlib.Path) -> None:
    """Catches a query that needs the pipeline up."""
    result = query(data, "SELECT sum(n) AS s FROM clicks", "-o", "csv")
    assert (result.exit_code, result.stdout) == (0, "s\n3\n")


BAD = {
    "a column that is not there": ("SELECT nn FROM clicks", 1, "LINE 1: SELECT nn FROM"),
    "a write": ("DELETE FROM clicks", 1, "only SELECT"),
    "a variable of this program": ("SELECT * FROM sql", 1, "sql"),
}


@pytest.mark.parametrize(("sql", "code", "said"), BAD.values(), ids=BAD)
def test_sql_that_can_not_run_says_where_and_why(sql: str, code: int, said: str, data: pathlib.Path) -> None:
    """Catches a traceback, a file opened for writing, and a name that reaches into the program."""
    result = query(data, sql)
    assert result.exit_code == code
    assert result.output.startswith("error: ")
    assert said in result.output
    assert "Python" not in result.output


def test_a_sink_that_is_not_there_is_named_with_those_that_are(data: pathlib.Path) -> None:
    """Catches an answer from another sink than the one asked for."""
    result = query(data, "SELECT 1", "--sink", "other")
    assert result.exit_code == 1
    assert "'other'" in result.output
    assert "warehouse" in result.output


def test_before_anything_has_landed_it_is_said(data: pathlib.Path) -> None:
    """Catches an empty database made by asking."""
    (data / "out.db").unlink()
    result = query(data, "SELECT 1")
    assert (result.exit_code, (data / "out.db").exists()) == (3, False)
    assert "nothing has landed yet" in result.output
    assert "a relative path begins where penstock run was started" in result.output


class Control(control_pb2_grpc.ControlServicer):
    def Query(self, request: control_pb2.QueryRequest, context: grpc.ServicerContext) -> Iterator[control_pb2.QueryResponse]:  # noqa: N802
        if "wrong" in request.sql:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Binder Error: wrong\n\nLINE 1: …")
        buffer = io.BytesIO()
        with ipc.new_stream(buffer, ANSWER.schema) as writer:
            writer.write_table(ANSWER)
        stream = buffer.getvalue()
        for start in range(0, len(stream), 100):
            yield control_pb2.QueryResponse(chunk=stream[start : start + 100])


@pytest.fixture
def running(data: pathlib.Path) -> Iterator[pathlib.Path]:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    control_pb2_grpc.add_ControlServicer_to_server(Control(), server)
    server.add_insecure_port(directory.DataDirectory(data).control_address)
    server.start()
    yield data
    server.stop(None).wait()


def test_a_pipeline_that_runs_is_asked_itself(running: pathlib.Path) -> None:
    """Catches a second process that opens the file under the writer, and chunks put together wrongly."""
    result = query(running, "SELECT *", "-o", "csv")
    assert result.stdout.splitlines() == lines("csv")


def test_the_running_pipeline_s_words_reach_the_person(running: pathlib.Path) -> None:
    """Catches a gRPC status where the store said what is wrong."""
    result = query(running, "wrong")
    assert (result.exit_code, result.output) == (1, "error: Binder Error: wrong\n\nLINE 1: …\n")
