"""The ClickHouse sink against the real engine: what lands, what each error means, what a table must be."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import pathlib
import ssl
from collections.abc import AsyncIterator, Callable

import pyarrow as pa
import pytest
from tests.servers import clickhouse

from penstock.core import delivery, results
from penstock.sinks import certificates, port, tables
from penstock.sinks.clickhouse import codes, credentials, pool, writer

CERTIFICATES = pathlib.Path(__file__).parents[1] / "certificates"
WINDOW = "SETTINGS non_replicated_deduplication_window = 1000"

Open = Callable[..., writer.ClickHouseWriter]


@pytest.fixture
async def opened(clickhouse_server: clickhouse.ClickHouse, clickhouse_database: str) -> AsyncIterator[Open]:
    """Makes writers into the test's database; they are closed at its end."""
    made: list[writer.ClickHouseWriter] = []

    def open_(
        policy: tables.TablePolicy = tables.TablePolicy.VERIFY,
        *,
        url: str = clickhouse_server.url,
        password: Callable[[], str] = lambda: clickhouse.PASSWORD,
        tls: credentials.Tls | None = None,
        database: str = clickhouse_database,
        seconds: float = 10.0,
    ) -> writer.ClickHouseWriter:
        who = credentials.Credentials(user=lambda: clickhouse.USER, password=password, tls=tls)
        server = writer.Server(url=url, database=database, credentials=who)
        made.append(writer.ClickHouseWriter(server, table_policy=policy, timeout_seconds=seconds))
        return made[-1]

    yield open_
    for one in made:
        await one.close()


def _batch(rows: pa.Table, token: str = "t", table: str = "x") -> delivery.SinkBatch:
    return delivery.SinkBatch(lane="a/b/c", table=table, ranges=(), token=token, finished_below=(), key_columns=(), rows=rows)


async def _failure(sink: writer.ClickHouseWriter, rows: pa.Table) -> results.Failure:
    with pytest.raises(port.SinkError) as raised:
        await sink.write(_batch(rows))
    return raised.value.failure


NUMBERS = pa.table({"a": pa.array([1, 2, 3])})


async def test_the_same_token_lands_once_and_another_one_again(
    opened: Open, clickhouse_server: clickhouse.ClickHouse, clickhouse_database: str
) -> None:
    """Catches a token that is not sent, and a server whose deduplication is of contents."""
    clickhouse_server.query(f"CREATE TABLE x (a Int64) ENGINE = MergeTree ORDER BY a {WINDOW}", clickhouse_database)
    sink = opened()
    described = await sink.describe("l", "x", NUMBERS.schema)
    assert described.identity is delivery.Identity.TOKEN
    for token in ("one", "one", "two"):
        assert (await sink.write(_batch(NUMBERS, token))).written == 3
    assert clickhouse_server.query("SELECT count() FROM x", clickhouse_database) == "6\n"


async def test_a_token_that_two_processes_send_at_the_same_moment_lands_once(
    opened: Open, clickhouse_server: clickhouse.ClickHouse, clickhouse_database: str
) -> None:
    """Catches a second write to another endpoint that lands because the first has not ended: the lane hears yes of both."""
    clickhouse_server.query(
        f"CREATE TABLE x (a Int64) ENGINE = MergeTree ORDER BY a PARTITION BY a % 3 {WINDOW}", clickhouse_database
    )
    one, other = opened(), opened()
    for number in range(20):
        batch = _batch(NUMBERS, f"token {number}")
        answers = await asyncio.gather(one.write(batch), other.write(batch))
        assert [answer.written for answer in answers] == [3, 3]
    assert clickhouse_server.query("SELECT count() FROM x", clickhouse_database) == "60\n"


async def test_every_type_lands_as_it_was_in_a_table_that_was_made_for_it(
    opened: Open, clickhouse_server: clickhouse.ClickHouse, clickhouse_database: str
) -> None:
    """Catches a type whose column changes its values, or takes no NULL."""
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.UTC)
    rows = pa.table(
        {
            "text": ["é\n\t", None],
            "flag": [True, None],
            "int": pa.array([-(2**31), None], pa.int32()),
            "long": [2**63 - 1, None],
            "real": [0.1, None],
            "money": pa.array([decimal.Decimal("-12345678901234.5678"), None], pa.decimal128(18, 4)),
            "day": [datetime.date(1931, 5, 6), None],
            "at": pa.array([moment, None], pa.timestamp("us", tz="UTC")),
            "bytes": pa.array([b"\x00\xff", None], pa.binary()),
            "list": pa.array([[1, None], None], pa.list_(pa.int64())),
            "one": pa.array(
                [{"sku": "a", "qty": 1}, {"sku": None, "qty": None}], pa.struct([("sku", pa.string()), ("qty", pa.int32())])
            ),
        }
    )
    sink = opened(tables.TablePolicy.CREATE_IF_MISSING)
    described = await sink.describe("l", "x", rows.schema)
    assert described.identity is delivery.Identity.TOKEN, described.identity_reason
    assert await sink.write(_batch(rows)) == delivery.WriteResult(written=2)
    shown = "text, flag, int, long, real, money, day, at, hex(bytes), list, one.sku, one.qty"
    first, second = clickhouse_server.query(f"SELECT {shown} FROM x ORDER BY text", clickhouse_database).splitlines()
    assert first.split("\t") == [
        r"é\n\t", "true", "-2147483648", "9223372036854775807", "0.1", "-12345678901234.5678", "1931-05-06",
        "2026-01-02 03:04:05.678901", "00FF", "[1,NULL]", "a", "1",
    ]  # fmt: skip
    assert second.split("\t") == [r"\N"] * 9 + ["[]", r"\N", r"\N"]


async def test_what_no_column_takes_without_changing_it_is_named_row_by_row(
    opened: Open, clickhouse_server: clickhouse.ClickHouse, clickhouse_database: str
) -> None:
    """Catches a NULL that lands as 0, and a time before 1970 that lands in 1970."""
    clickhouse_server.query(f"CREATE TABLE x (a Int64, t DateTime) ENGINE = MergeTree ORDER BY a {WINDOW}", clickhouse_database)
    good, old = (datetime.datetime(year, 1, 1, tzinfo=datetime.UTC) for year in (2026, 1969))
    rows = pa.table({"a": [1, None, 3], "t": pa.array([good, good, old], pa.timestamp("us", tz="UTC"))})
    result = await opened().write(_batch(rows))
    assert [(one.row, one.code) for one in result.rejected] == [(1, "NULL"), (2, "OUT_OF_RANGE")]
    assert clickhouse_server.query("SELECT count() FROM x", clickhouse_database) == "0\n"


async def test_faults_of_a_table_are_told_at_once_with_the_way_out(
    opened: Open, clickhouse_server: clickhouse.ClickHouse, clickhouse_database: str
) -> None:
    """Catches a lane that starts on a table it can't fill, and learns of its faults one by one."""
    clickhouse_server.query("CREATE TABLE x (a Int32, c Int64 MATERIALIZED 1) ENGINE = MergeTree ORDER BY a", clickhouse_database)
    rows = pa.table({"a": [1], "b": ["x"], "c": [1]})
    with pytest.raises(port.SinkError) as raised:
        await opened().describe("l", "x", rows.schema)
    told = raised.value.failure
    assert (told.result_class, told.code) == (results.ResultClass.CONFIG, "TABLE_MISMATCH")
    for fault in ('column "a" is Int32, the pipeline sends int64', 'no column "b" (it has a, c)', 'column "c" is computed'):
        assert fault in told.message
    with pytest.raises(port.SinkError, match="NO_TABLE"):
        await opened().describe("l", "missing", rows.schema)


async def test_columns_are_added_where_the_policy_says_so(
    opened: Open, clickhouse_server: clickhouse.ClickHouse, clickhouse_database: str
) -> None:
    """Catches a policy that stops at the table, or touches what is there."""
    clickhouse_server.query(f"CREATE TABLE x (a Int64) ENGINE = MergeTree ORDER BY a {WINDOW}", clickhouse_database)
    rows = pa.table({"a": [1], "new": ["x"]})
    with pytest.raises(port.SinkError, match="TABLE_MISMATCH"):
        await opened(tables.TablePolicy.CREATE_IF_MISSING).describe("l", "x", rows.schema)
    sink = opened(tables.TablePolicy.ADD_COLUMNS)
    await sink.describe("l", "x", rows.schema)
    await sink.write(_batch(rows))
    assert clickhouse_server.query("SELECT * FROM x", clickhouse_database) == "1\tx\n"


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        ("MergeTree ORDER BY a", "remembers 0 inserts and 1,000 are needed: ALTER TABLE"),
        (
            "MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 999",
            "MODIFY SETTING non_replicated_deduplication_window",
        ),
        ("Memory", "engine Memory remembers no inserts"),
    ],
)
async def test_a_table_that_can_t_tell_a_repeat_says_why(
    engine: str, reason: str, opened: Open, clickhouse_server: clickhouse.ClickHouse, clickhouse_database: str
) -> None:
    """Catches effectively once being promised where the server forgets."""
    clickhouse_server.query(f"CREATE TABLE x (a Int64) ENGINE = {engine}", clickhouse_database)
    described = await opened().describe("l", "x", NUMBERS.schema)
    assert described.identity is delivery.Identity.NONE
    assert reason in described.identity_reason


PROVOKED = (
    ("a UInt8, b UUID", {"a": pa.array([1], pa.uint8()), "b": ["x"]}, "", (results.ResultClass.DATA, "CANNOT_PARSE_UUID")),
    ("a Int64", {"a": ["x"]}, "", (results.ResultClass.DATA, "CANNOT_PARSE_TEXT")),
    ("a DateTime", {"a": ["x"]}, "", (results.ResultClass.DATA, "CANNOT_PARSE_DATETIME")),
    ("a Bool", {"a": ["x"]}, "", (results.ResultClass.DATA, "CANNOT_PARSE_BOOL")),
    ("a IPv4", {"a": ["x"]}, "", (results.ResultClass.DATA, "CANNOT_PARSE_IPV4")),
    ("a JSON", {"a": ["{"]}, "", (results.ResultClass.DATA, "INCORRECT_DATA")),
    ("a Enum8('b' = 1)", {"a": ["x"]}, "", (results.ResultClass.DATA, "UNKNOWN_ELEMENT_OF_ENUM")),
    ("a FixedString(1)", {"a": ["xx"]}, "", (results.ResultClass.DATA, "TOO_LARGE_STRING_SIZE")),
    ("a Array(Int64)", {"a": [[1, None]]}, "", (results.ResultClass.DATA, "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN")),
    ("a Int64, CONSTRAINT c CHECK a > 5", {"a": [1]}, "", (results.ResultClass.DATA, "VIOLATED_CONSTRAINT")),
    ("a Int64", {"a": [1]}, "DROP TABLE x", (results.ResultClass.CONFIG, "UNKNOWN_TABLE")),
    (
        "a Int64, b Int64",
        {"a": [1], "b": [1]},
        "ALTER TABLE x DROP COLUMN b",
        (results.ResultClass.CONFIG, "NO_SUCH_COLUMN_IN_TABLE"),
    ),
    (
        "a Int64",
        {"a": [1]},
        "DROP TABLE x; CREATE TABLE x (a Array(Int64)) ENGINE = MergeTree ORDER BY tuple()",
        (results.ResultClass.CONFIG, "TYPE_MISMATCH"),
    ),
)


async def test_a_row_that_a_constraint_refuses_is_named_and_none_lands(
    opened: Open, clickhouse_server: clickhouse.ClickHouse, clickhouse_database: str
) -> None:
    """Catches a good row given up for its neighbour, and an index that counts from the wrong place in a large batch."""
    columns = "a Int64, CONSTRAINT c CHECK a >= 0"
    clickhouse_server.query(f"CREATE TABLE x ({columns}) ENGINE = MergeTree ORDER BY tuple() {WINDOW}", clickhouse_database)
    table, sink = pa.table({"a": [-1 if row in (70_001, 99_000) else row for row in range(100_000)]}), opened()
    await sink.describe("l", "x", table.schema)
    for row in (70_001, 98_999):
        answer = await sink.write(_batch(table))
        assert [refusal.row for refusal in answer.rejected] == [row]
        table = pa.concat_tables([table.slice(0, row), table.slice(row + 1)])
    assert clickhouse_server.query("SELECT count() FROM x", clickhouse_database).strip() == "0"
    assert (await sink.write(_batch(table))).rejected == ()
    assert clickhouse_server.query("SELECT count(), min(a) FROM x", clickhouse_database).split() == ["99998", "0"]


@pytest.mark.parametrize(
    ("columns", "rows", "then", "expected"), PROVOKED, ids=lambda value: value[1] if isinstance(value, tuple) else ""
)
async def test_what_the_engine_s_own_errors_mean(
    columns: str,
    rows: dict[str, object],
    then: str,
    expected: tuple[results.ResultClass, str],
    opened: Open,
    clickhouse_server: clickhouse.ClickHouse,
    clickhouse_database: str,
) -> None:
    """Catches a class that goes by the docs and not by what the engine really answers."""
    clickhouse_server.query(f"CREATE TABLE x ({columns}) ENGINE = MergeTree ORDER BY tuple() {WINDOW}", clickhouse_database)
    table, sink = pa.table(rows), opened()
    await sink.describe("l", "x", table.schema)
    for statement in then.split(";") if then else ():
        clickhouse_server.query(statement, clickhouse_database)
    failure = await _failure(sink, table)
    assert (failure.result_class, failure.code) == expected, failure


async def test_too_many_parts_are_pressure_and_too_many_partitions_a_wrong_table(
    opened: Open, clickhouse_server: clickhouse.ClickHouse, clickhouse_database: str
) -> None:
    """Catches the one code with two meanings being taken for one of them."""
    full = "parts_to_throw_insert = 1, old_parts_lifetime = 1, parts_to_delay_insert = 1, max_delay_to_insert = 1"
    clickhouse_server.query(f"CREATE TABLE x (a Int64) ENGINE = MergeTree ORDER BY a {WINDOW}, {full}", clickhouse_database)
    clickhouse_server.query("SYSTEM STOP MERGES x", clickhouse_database)
    sink, failure = opened(), None
    for number in range(5):
        try:
            await sink.write(_batch(NUMBERS, f"{number}"))
        except port.SinkError as error:
            failure = error.failure
    assert failure is not None
    assert (failure.result_class, failure.code) == (results.ResultClass.PRESSURE, "TOO_MANY_PARTS")
    clickhouse_server.query(
        f"CREATE TABLE y (a Int64) ENGINE = MergeTree ORDER BY a PARTITION BY a {WINDOW}", clickhouse_database
    )
    with pytest.raises(port.SinkError, match="TOO_MANY_PARTITIONS"):
        await sink.write(_batch(pa.table({"a": list(range(200))}), table="y"))


async def test_every_name_in_the_table_is_the_engine_s_own(clickhouse_server: clickhouse.ClickHouse) -> None:
    """Catches a code that was misread."""
    known = {code: name for names in codes.NAMES.values() for code, name in names.items()}
    asked = ", ".join(f"errorCodeToName({code})" for code in known)
    assert clickhouse_server.query(f"SELECT {asked}").strip().split("\t") == list(known.values())


async def test_a_password_that_is_renewed_is_used_without_a_restart_and_never_shown(
    opened: Open, clickhouse_server: clickhouse.ClickHouse, clickhouse_database: str
) -> None:
    """Catches credentials read once, and a wrong password taken for anything but an outage."""
    clickhouse_server.query(f"CREATE TABLE x (a Int64) ENGINE = MergeTree ORDER BY a {WINDOW}", clickhouse_database)
    password = ["not the password"]
    sink = opened(password=lambda: password[0])
    failure = await _failure(sink, NUMBERS)
    assert (failure.result_class, failure.code) == (results.ResultClass.OUTAGE, "CREDENTIALS_REJECTED")
    assert password[0] not in failure.message
    password[0] = clickhouse.PASSWORD
    assert (await sink.write(_batch(NUMBERS))).written == 3


async def test_a_server_that_is_not_there_or_answers_nothing_is_an_outage(
    opened: Open, clickhouse_server: clickhouse.ClickHouse, clickhouse_database: str
) -> None:
    """Catches a time-out that ends as a failure nobody knows."""
    failure = await _failure(opened(url="http://127.0.0.1:1"), NUMBERS)
    assert (failure.result_class, failure.code) == (results.ResultClass.OUTAGE, "UNREACHABLE")
    clickhouse_server.query(f"CREATE TABLE x (a Int64) ENGINE = MergeTree ORDER BY a {WINDOW}", clickhouse_database)
    sink = opened(seconds=0.5)
    await sink.describe("l", "x", NUMBERS.schema)
    clickhouse_server.server.suspend()
    try:
        failure = await _failure(sink, NUMBERS)
    finally:
        clickhouse_server.server.resume()
    assert (failure.result_class, failure.code) == (results.ResultClass.OUTAGE, "TIMEOUT")
    assert (await sink.write(_batch(NUMBERS))).written == 3


async def test_tls_is_checked_against_the_authority_that_is_named(
    opened: Open, clickhouse_server: clickhouse.ClickHouse, clickhouse_database: str
) -> None:
    """Catches an https server that is trusted whoever it is, and an authority that is read once."""
    clickhouse_server.query(f"CREATE TABLE x (a Int64) ENGINE = MergeTree ORDER BY a {WINDOW}", clickhouse_database)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATES / "first.crt", CERTIFICATES / "first.key")
    front = await asyncio.start_server(_forwarding(clickhouse_server.port), "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{front.sockets[0].getsockname()[1]}"
    authority = [CERTIFICATES / "other-authority.crt"]
    sink = opened(url=url, tls=certificates.Tls(place="clickHouse.tls", authority=lambda: authority[0].read_text()))
    failure = await _failure(sink, NUMBERS)
    assert (failure.result_class, failure.code) == (results.ResultClass.OUTAGE, "TLS")
    authority[0] = CERTIFICATES / "authority.crt"
    assert (await sink.write(_batch(NUMBERS))).written == 3
    front.close()


def _forwarding(to: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]:
    async def copied(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
        sink.close()

    async def forwarding(reader: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        upstream, out = await asyncio.open_connection("127.0.0.1", to)
        await asyncio.gather(copied(reader, out), copied(upstream, answer), return_exceptions=True)

    return forwarding


async def test_a_pool_is_no_larger_than_it_was_told_and_gives_up_old_connections() -> None:
    """Catches a pool without a bound, a wait without an end, and a connection that outlives its server's patience."""
    now = [0.0]
    connections = pool.Pool(
        "Test", pool.Limits(size=1, idle_seconds=5.0, lifetime_seconds=8.0, wait_seconds=0.05), lambda: now[0]
    )
    seen = []
    for passed in (0.0, 4.0, 4.5, 6.0):
        now[0] += passed
        async with connections.connection() as held:
            seen.append(held)
            assert (connections.in_use, connections.idle) == (1, 0)
            with pytest.raises(port.SinkError) as raised:
                async with connections.connection():
                    pass
            assert raised.value.failure.result_class is results.ResultClass.PRESSURE
    assert seen[0] is seen[1]
    assert seen[1] is not seen[2]
    assert seen[2] is not seen[3]
    with pytest.raises(OSError, match="broken"):
        async with connections.connection():
            raise OSError("broken")
    assert (connections.in_use, connections.idle) == (0, 0)
    await connections.close()
