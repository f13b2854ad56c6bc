"""The DuckDB destination."""

import datetime
import decimal

import duckdb as engine
import pyarrow as pa
import pytest
from tests.unit.sinks import writes

from penstock.core import results
from penstock.sinks import port, tables
from penstock.sinks.duckdb import store as duckdb_store
from penstock.sinks.duckdb import writer as duckdb

SQL = "CREATE TABLE clicks (id BIGINT {0}, name VARCHAR, CHECK (length(name) < 40))"


@pytest.fixture
async def writer(tmp_path):
    opened = duckdb.DuckDBWriter(tmp_path / "out.db")
    yield opened
    await opened.close()


def made(path, sql):
    """A database that somebody made before."""
    with engine.connect(path) as connection:
        connection.execute(sql)


async def ids(writer):
    return (await writer.query("SELECT id FROM clicks ORDER BY id")).column("id").to_pylist()


@pytest.mark.parametrize(
    ("constraint", "names", "rejected"),
    [
        ("", ["a", "x" * 50, "b", "x" * 60], [1, 3]),
        ("NOT NULL", ["a"] * 4, [2]),
        ("PRIMARY KEY", ["a"] * 4, [3]),
    ],
)
async def test_only_the_rows_the_table_refuses_are_named(tmp_path, writer, constraint, names, rejected):
    """Catches a neighbour of a bad row refused with it, and half of a refused write left in the table."""
    made(tmp_path / "out.db", SQL.format(constraint))
    third = None if constraint == "NOT NULL" else 8
    rows = pa.table({"id": pa.array([5, 7, third, 5 if constraint == "PRIMARY KEY" else 9], pa.int64()), "name": names})
    answer = await writer.write(writes.batch(rows, writes.span(0, 4)))
    assert [row.row for row in answer.rejected] == rejected
    assert {row.result_class for row in answer.rejected} == {results.ResultClass.DATA}
    assert all(row.message for row in answer.rejected)
    assert await ids(writer) == []
    rest = rows.take([row for row in range(4) if row not in rejected])
    assert (await writer.write(writes.batch(rest, writes.span(0, 4)))).written == len(rest)


async def test_a_value_that_does_not_fit_is_its_rows_fault(tmp_path, writer):
    """Catches a number too large, or a text that is no date, that stops the lane or takes its neighbours along."""
    made(tmp_path / "out.db", "CREATE TABLE clicks (id TINYINT, day DATE)")
    rows = pa.table({"id": [1, 300, 3], "day": ["2026-01-01", "2026-01-02", "soon"]})
    answer = await writer.write(writes.batch(rows, writes.span(0, 3)))
    assert [row.row for row in answer.rejected] == [1, 2]
    assert "300" in answer.rejected[0].message
    assert "soon" in answer.rejected[1].message


async def test_columns_are_matched_by_name(writer):
    """Catches an insert by place: a table with its columns in another order would get them crossed."""
    await writer.describe(writes.LANE, "clicks", pa.schema([("id", pa.int64()), ("other", pa.int64())]))
    rows = pa.table({"other": [1], "id": [2]})
    await writer.write(writes.batch(rows, writes.span(0, 1)))
    assert (await writer.query("SELECT id, other FROM clicks")).to_pylist() == [{"id": 2, "other": 1}]


async def test_every_declared_type_lands_as_itself(writer):
    """Catches a type that DuckDB reads differently from Arrow: zones, decimals, nested and extension types."""
    at = datetime.datetime(2026, 1, 1, 12, 30, 0, 5, tzinfo=datetime.UTC)
    rows = pa.table(
        {
            "text": pa.array(["é", None]),
            "flag": pa.array([True, None]),
            "small": pa.array([1, None], pa.int32()),
            "large": pa.array([2**62, None], pa.int64()),
            "real": pa.array([0.5, None]),
            "exact": pa.array([decimal.Decimal("1.2345"), None], pa.decimal128(18, 4)),
            "day": pa.array([at.date(), None]),
            "at": pa.array([at, None], pa.timestamp("us", "UTC")),
            "blob": pa.array([b"\x00\xff", None]),
            "list": pa.array([[1, 2], None]),
            "record": pa.array([{"a": 1, "b": "x"}, None]),
            "records": pa.array([[{"a": 1}], None]),
        }
    )
    await writer.describe(writes.LANE, "clicks", rows.schema)
    await writer.write(writes.batch(rows, writes.span(0, 1)))
    assert (await writer.query("FROM clicks")).to_pylist() == rows.to_pylist()


async def test_a_write_of_another_schema_is_checked_before_it_is_tried(writer):
    """Catches a revision whose new column is reported in the engine's words, without a remedy."""
    await writer.describe(writes.LANE, "clicks", writes.numbered(0, 0).schema)
    rows = writes.numbered(0, 1).append_column("region", pa.array(["eu"]))
    with pytest.raises(port.SinkError, match='no column "region"') as caught:
        await writer.write(writes.batch(rows, writes.span(0, 1)))
    assert caught.value.failure.result_class is results.ResultClass.CONFIG


async def test_under_verify_no_database_is_made(tmp_path):
    """Catches a misspelt path that becomes a new, empty database."""
    writer = duckdb.DuckDBWriter(tmp_path / "typo.db", table_policy=tables.TablePolicy.VERIFY)
    with pytest.raises(port.SinkError, match="NO_DATABASE"):
        await writer.describe(writes.LANE, "clicks", writes.numbered(0, 0).schema)
    await writer.close()
    assert list(tmp_path.iterdir()) == []


async def test_two_sinks_may_share_a_database(tmp_path):
    """Catches a second lane of one pipeline that can't open, or that forgets, what the first has written."""
    writers = [duckdb.DuckDBWriter(tmp_path / "out.db") for _ in range(2)]
    rows = writes.numbered(0, 2)
    for lane, writer in enumerate(writers):
        await writer.describe(f"lane{lane}", f"t{lane}", rows.schema)
    for lane, writer in enumerate(writers):
        batch = writes.batch(rows, writes.span(0, 2), lane=f"lane{lane}", table=f"t{lane}")
        assert (await writer.write(batch)).written == 2
        assert (await writer.write(batch)).written == 0
    for writer in writers:
        await writer.close()


async def test_an_error_that_no_rule_expects_leaves_nothing_behind(tmp_path):
    """Catches ranges kept in memory from a write that was rolled back: the retry would be trimmed and its rows lost."""
    faults = iter([RuntimeError("once")])

    def failing(step):
        if step == "journalled":
            for fault in faults:
                raise fault

    writer = duckdb.DuckDBWriter(tmp_path / "out.db", failpoint=failing)
    rows = writes.numbered(0, 2)
    await writer.describe(writes.LANE, "clicks", rows.schema)
    with pytest.raises(RuntimeError):
        await writer.write(writes.batch(rows, writes.span(0, 2)))
    assert await ids(writer) == []
    assert (await writer.write(writes.batch(rows, writes.span(0, 2)))).written == 2
    await writer.close()


async def test_after_a_commit_whose_sync_fails_the_retry_hears_that_it_has_landed(writer, monkeypatch):
    """Catches a session that goes on with what it knew before the commit: the retry would land the rows again."""
    rows = writes.numbered(0, 2)
    await writer.describe(writes.LANE, "clicks", rows.schema)

    def failing(store):
        monkeypatch.undo()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(duckdb_store.Store, "_sync_new_log", failing)
    with pytest.raises(port.SinkError) as caught:
        await writer.write(writes.batch(rows, writes.span(0, 2)))
    assert caught.value.failure.result_class is results.ResultClass.OUTAGE
    assert list((await writer.write(writes.batch(rows, writes.span(0, 2)))).already_landed) == [writes.span(0, 2)]
    assert await ids(writer) == [0, 1]


@pytest.mark.parametrize(
    ("content", "result_class"), [(b"no database" * 1000, results.ResultClass.CONFIG), (None, results.ResultClass.CONFIG)]
)
async def test_a_path_that_can_hold_no_database_is_a_misconfiguration(tmp_path, content, result_class):
    """Catches a wrong path retried for ever as if the disk were away."""
    path = tmp_path / "out.db"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    writer = duckdb.DuckDBWriter(path)
    with pytest.raises(port.SinkError) as caught:
        await writer.describe(writes.LANE, "clicks", writes.numbered(0, 0).schema)
    assert caught.value.failure.result_class is result_class
    assert str(path) in caught.value.failure.message
    await writer.close()


@pytest.mark.parametrize(
    ("error", "result_class"),
    [
        (engine.IOException("No space left on device"), results.ResultClass.OUTAGE),
        (engine.FatalException("invalidated"), results.ResultClass.OUTAGE),
        (engine.OutOfMemoryException("spent"), results.ResultClass.PRESSURE),
        (engine.CatalogException("no table"), results.ResultClass.CONFIG),
        (engine.InternalException("bug"), results.ResultClass.UNCLASSIFIED),
    ],
)
def test_each_error_has_its_class(tmp_path, error, result_class):
    """Catches a full disk that makes dead letters, or a dropped table that is retried for ever."""
    assert duckdb_store.classify(tmp_path, error).failure.result_class is result_class
