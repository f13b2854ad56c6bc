"""The engine's closed doors, its limits, and the source that is swapped under a prepared query."""

import pyarrow as pa
import pytest

from penstock.core.transform import engine

SCHEMA = pa.schema([("n", pa.int64()), ("text", pa.string())])


@pytest.fixture
def opened():
    made = engine.Engine(SCHEMA, memory_limit_bytes=64 << 20, time_limit_seconds=0.2)
    yield made
    made.close()


def table(*rows):
    return pa.Table.from_pylist([{"n": n, "text": text} for n, text in rows], schema=SCHEMA)


def test_a_query_is_planned_once_and_run_over_one_table_after_another(opened):
    """Catches a source that keeps handing out the first table."""
    opened.prepare("q", engine.select(["n + 1 AS m"], "text IS NOT NULL"))
    assert opened.run("q", table((1, "a"), (2, None))).column("m").to_pylist() == [2]
    assert opened.run("q", table((5, "a"), (6, "b"))).column("m").to_pylist() == [6, 7]
    assert opened.run("q", SCHEMA.empty_table()).num_rows == 0


def test_several_chunks_are_read_in_order(opened):
    """Catches a source that hands out one block of a group."""
    opened.prepare("q", engine.select(["n"]))
    blocks = pa.concat_tables([table((1, "a")), table((2, "b")), table((3, "c"))])
    assert opened.run("q", blocks).column("n").to_pylist() == [1, 2, 3]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM secret_of_ours",
        "COPY src TO '/tmp/out.csv'",
        "ATTACH '/tmp/x.db'",
        "INSTALL httpfs",
        "SET threads = 4",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SELECT getenv('HOME')",
    ],
)
def test_every_door_is_closed(opened, sql):
    """Catches a connection opened without one of its locks: files, variables of this process, extensions, settings."""
    secret_of_ours = table((1, "hidden"))
    with pytest.raises(engine.QueryError):
        opened.type_of(f"1); {sql}; --") if "SELECT" not in sql else opened.prepare("door", sql.removesuffix(";"))
    with pytest.raises(Exception, match=r".") as raised:
        opened._connection.execute(sql)
    assert type(raised.value).__module__ == "_duckdb"
    assert secret_of_ours.num_rows == 1


def test_a_row_that_fails_is_told_in_the_engines_words_alone(opened):
    """Catches messages that carry the SQL text, whose internal names mean nothing to anyone."""
    opened.prepare("q", engine.select(["CAST(text AS INTEGER) AS m"]))
    with pytest.raises(engine.DataError) as raised:
        opened.run("q", table((1, "12"), (2, "x")))
    assert str(raised.value) == "Could not convert string 'x' to INT32 when casting from source column text"
    assert opened.run("q", table((1, "12"))).column("m").to_pylist() == [12]


def test_a_query_without_end_is_stopped(opened):
    """Catches a missing time limit; the connection must still answer afterwards."""
    opened.prepare("slow", "SELECT sum(sqrt(a.i * b.i)) AS s FROM range(100000) a(i), range(100000) b(i)")
    with pytest.raises(engine.LimitError, match=r"took longer than 0\.2 s"):
        opened.run("slow", SCHEMA.empty_table())
    opened.prepare("q", engine.select(["n"]))
    assert opened.run("q", table((1, "a"))).num_rows == 1


def test_a_query_that_wants_too_much_memory_is_stopped():
    """Catches a missing memory limit."""
    small = engine.Engine(SCHEMA, memory_limit_bytes=16 << 20)
    small.prepare("large", "SELECT i, i * 2 AS j FROM range(20000000) a(i) ORDER BY hash(i)")
    with pytest.raises(engine.LimitError, match="needs more than 16 MiB"):
        small.run("large", SCHEMA.empty_table())
    small.close()


def test_after_a_fault_of_its_own_the_engine_is_opened_anew():
    """Catches a fault of the engine that stops the lane: it answers nothing any more until it is opened again."""
    kind = pa.struct([("x", pa.int64())])
    # A dictionary of structs is what this engine is known to break on.
    broken = pa.DictionaryArray.from_arrays(pa.array([0, 0, 1, 2, 2], pa.int32()), pa.array([{"x": 1}, None, {"x": 3}], kind))
    opened = engine.Engine(pa.schema([("s", broken.type)]))
    opened.prepare("q", engine.select(["s"]))
    with pytest.raises(engine.LimitError, match="the SQL engine failed"):
        opened.run("q", pa.table({"s": broken}))
    assert opened.run("q", pa.table({"s": broken.slice(0, 0)})).num_rows == 0
    opened.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Conversion Error: bad\n\nLINE 1: SELECT x\n   ^", "bad"),
        ("Out of Range Error: Overflow!", "Overflow!"),
        ('Invalid Input Error: Could not parse "x"\nx\n^\nError: Expected a number', 'Could not parse "x": Expected a number'),
        ("Binder Error: No function. You might need to add explicit type casts.\n\tCandidate functions:\n\tf", "No function."),
        (
            'Invalid Input Error: Could not parse "' + "x" * 440 + '"\n' + "x" * 440 + "\n  ^\nError: No",
            f'Could not parse "{"x" * 440}": No',
        ),
        ("Conversion Error: a  b \n \n c", "a  b"),
        ("Conversion Error: a\n\n\n^ b", "a"),
        ("Conversion Error: " + "y" * 2000, "y" * 500 + "…"),
        ("Conversion Error: '" + "y\n" * 2000, "'" + "y\n" * 249 + "y…"),
    ],
)
def test_messages_are_cut_to_the_sentence(text, message):
    """Catches advice, pointers and whole events in a dead letter's message."""
    assert engine.message_of(Exception(text)) == message


@pytest.mark.parametrize("filler", ["x", "\n", " ", "x\n", "\n ^"])
def test_of_a_message_with_a_huge_value_in_it_a_bounded_part_is_looked_at(monkeypatch, filler):
    """Catches searches through the whole of a value, which take seconds for 8 MiB, and minutes where it is blank."""
    looked_at = []

    class Watched:
        def __init__(self, pattern):
            self._pattern = pattern

        def sub(self, by, text):
            looked_at.append(len(text))
            return self._pattern.sub(by, text)

    for name in ("_KIND", "_HELP", "_POINTER"):
        monkeypatch.setattr(engine, name, Watched(getattr(engine, name)))
    told = engine.message_of(Exception("Conversion Error: Could not convert string '" + filler * (1 << 20)))
    assert told.startswith("Could not convert string '")
    assert len(told) <= 501
    assert len(looked_at) == 3
    assert max(looked_at) <= 4_000


def test_a_huge_value_that_fails_is_told_in_a_few_words():
    """Catches a message that is as large as the value, also where the engine cuts it within a character."""
    opened = engine.Engine(SCHEMA)
    opened.prepare("q", engine.select(["CAST(text AS BIGINT)"]))
    for value in ("\n" * (1 << 20), "é" * (1 << 20)):
        with pytest.raises(engine.DataError, match="Could not convert string") as raised:
            opened.run("q", table((1, value)))
        assert len(str(raised.value)) <= 501
    opened.close()
