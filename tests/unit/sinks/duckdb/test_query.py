"""SQL of a person over what has landed."""

import pytest
from tests.unit.sinks import writes

from penstock.core import results
from penstock.sinks import port
from penstock.sinks.duckdb import query as duckdb_query
from penstock.sinks.duckdb import writer as duckdb


@pytest.fixture
async def writer(tmp_path):
    opened = duckdb.DuckDBWriter(tmp_path / "out.db")
    rows = writes.numbered(0, 3)
    await opened.describe(writes.LANE, "clicks", rows.schema)
    await opened.write(writes.batch(rows, writes.span(0, 3)))
    yield opened
    await opened.close()


async def refusal(writer, sql):
    with pytest.raises(port.SinkError) as caught:
        await writer.query(sql)
    assert caught.value.failure.result_class is results.ResultClass.CONFIG
    return caught.value.failure


@pytest.mark.parametrize("sql", ["SELECT count(*) AS n FROM clicks", "WITH c AS (FROM clicks) SELECT count(*) AS n FROM c"])
async def test_a_select_answers(writer, sql):
    """Catches fences that keep honest questions out."""
    assert (await writer.query(sql)).to_pydict() == {"n": [3]}


FENCES = {
    "the statement's kind": [
        "DELETE FROM clicks",
        "DROP TABLE clicks",
        "INSERT INTO clicks VALUES (9, 'x')",
        "CREATE TABLE t (a INT)",
        "CREATE TEMP TABLE t (a INT)",
        "PREPARE p AS DELETE FROM clicks",
        "CHECKPOINT",
        "LOAD httpfs",
        "ATTACH ':memory:' AS other",
    ],
    "one statement": ["SELECT 1; DELETE FROM clicks", "COMMIT; DELETE FROM clicks", "SELECT 1; SELECT 2", "", "-- nothing"],
    "the read-only transaction": [
        "WITH gone AS (DELETE FROM clicks RETURNING *) SELECT * FROM gone",
        "WITH more AS (INSERT INTO clicks SELECT * FROM clicks RETURNING *) SELECT * FROM more",
        "EXPLAIN ANALYZE DELETE FROM clicks",
    ],
    "the locked settings": [
        "SET memory_limit = '100GB'",
        "PRAGMA memory_limit = '100GB'",
        "CALL enable_logging()",
        "SELECT * FROM enable_logging()",
    ],
    "no other files": [
        "COPY clicks TO '/tmp/clicks.csv'",
        "EXPORT DATABASE '/tmp/exported'",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM read_csv('/etc/hostname')",
        "SELECT * FROM '/etc/hostname'",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM duckdb_secrets()",
    ],
    "nothing of the process": ["SELECT getenv('HOME')", "SELECT * FROM writer", "SELECT * FROM _penstock_incoming"],
    "what DuckDB itself refuses": ["SELECT nonsense FROM clicks", "not SQL"],
}


@pytest.mark.parametrize("fence", FENCES)
async def test_nothing_but_reading_gets_through(writer, fence):
    """Catches each fence taken down."""
    for sql in FENCES[fence]:
        await refusal(writer, sql)
    assert (await writer.query("SELECT count(*) AS n FROM clicks")).to_pydict() == {"n": [3]}
    assert (await writer.write(writes.batch(writes.numbered(3, 4), writes.span(3, 4)))).written == 1


async def test_a_query_does_not_answer_without_bound(writer, monkeypatch):
    """Catches a cross join that fills the process's memory."""
    monkeypatch.setattr(duckdb_query, "LIMIT_BYTES", 1_000_000)
    assert (await refusal(writer, "SELECT * FROM range(10000000)")).code == "RESULT_TOO_LARGE"


async def test_a_query_that_does_not_end_is_interrupted(writer, monkeypatch):
    """Catches one careless question that holds the reading thread for ever."""
    monkeypatch.setattr(duckdb_query, "LIMIT_SECONDS", 0.05)
    failure = await refusal(writer, "SELECT count(*) FROM range(10000000) a, range(10000000) b")
    assert failure.code == "QUERY_TOO_SLOW"
