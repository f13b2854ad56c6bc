"""Postgres in trouble: whose fault each error is, and that landing goes on by itself when the server is back."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import time
import uuid

import asyncpg
import pyarrow as pa
import pytest
from tests.integration import lane_run, pg, pg_child, tls_front
from tests.servers import process
from tests.unit.sinks import writes

from penstock.core import results
from penstock.sinks import certificates, port, tables
from penstock.telemetry import metrics

DATA, OUTAGE, UNCLASSIFIED = results.ResultClass.DATA, results.ResultClass.OUTAGE, results.ResultClass.UNCLASSIFIED
PRESSURE, CONFIG = results.ResultClass.PRESSURE, results.ResultClass.CONFIG
ROW = writes.numbered(0, 1)


@pytest.fixture(scope="module")
def shared_dsn(postgres_server):
    return postgres_server.createdb(f"t{uuid.uuid4().hex}")


@pytest.fixture
async def postgres_dsn(shared_dsn):
    """Emptied instead of made anew, which would take longer than most tests here."""
    await pg.emptied(shared_dsn)
    return shared_dsn


async def failure(sink, offset=0, *, describe=True):
    """What a write fails with."""
    try:
        if describe:
            await sink.describe(writes.LANE, "clicks", pg.SCHEMA)
        answer = await sink.write(writes.batch(ROW, writes.span(offset, offset + 1)))
    except port.SinkError as error:
        return error.failure
    raise AssertionError(answer)


async def trigger(dsn, body):
    """Run `body` before each row is inserted."""
    await pg.run(
        dsn,
        f"""CREATE OR REPLACE FUNCTION hook() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$;
        CREATE OR REPLACE TRIGGER hook BEFORE INSERT ON clicks FOR EACH ROW EXECUTE FUNCTION hook();""",
    )


@pytest.mark.parametrize(
    ("body", "result_class", "code"),
    [
        ("PERFORM pg_sleep(30)", OUTAGE, "57014"),
        ("PERFORM pg_terminate_backend(pg_backend_pid())", OUTAGE, "08003"),
        ("RAISE EXCEPTION 'no' USING ERRCODE = '40001'", PRESSURE, "40001"),
        ("RAISE EXCEPTION 'no' USING ERRCODE = '40P01'", PRESSURE, "40P01"),
        ("RAISE EXCEPTION 'no' USING ERRCODE = '53100'", OUTAGE, "53100"),
        ("RAISE EXCEPTION 'no' USING ERRCODE = '53200'", OUTAGE, "53200"),
        ("RAISE EXCEPTION 'no' USING ERRCODE = '58030'", OUTAGE, "58030"),
        ("RAISE EXCEPTION 'no'", UNCLASSIFIED, "P0001"),
        ("RAISE EXCEPTION 'no' USING ERRCODE = 'XX000'", UNCLASSIFIED, "XX000"),
        ("PERFORM nothing_like_it()", CONFIG, "42883"),
    ],
)
async def test_an_error_of_the_server_has_its_class_and_the_rows_land_afterwards(postgres_dsn, body, result_class, code):
    """Catches a row that is dead-lettered because the server was in trouble, and a connection that is used after an error."""
    async with pg.opened(postgres_dsn, timeout_seconds=1.0) as sink:
        await sink.describe(writes.LANE, "clicks", pg.SCHEMA)
        await trigger(postgres_dsn, body)
        found = await failure(sink, describe=False)
        assert (found.result_class, found.code) == (result_class, code), found
        await pg.run(postgres_dsn, "DROP TRIGGER hook ON clicks;")
        assert (await sink.write(writes.batch(ROW, writes.span(0, 1)))).written == 1


async def test_a_row_a_trigger_refuses_with_a_data_code_is_named(postgres_dsn):
    """Catches checks of the user's own that stop the lane."""
    async with pg.opened(postgres_dsn) as sink:
        await sink.describe(writes.LANE, "clicks", pg.SCHEMA)
        await trigger(postgres_dsn, "IF NEW.id = 3 THEN RAISE EXCEPTION 'not three' USING ERRCODE = '23514'; END IF")
        answer = await sink.write(writes.batch(writes.numbered(0, 9), writes.span(0, 1)))
    assert [(row.row, row.code, row.message) for row in answer.rejected] == [(3, "23514", "not three")]


async def test_rows_that_are_refused_beside_others_are_named_and_only_they(postgres_dsn):
    """Catches a search that forgets which rows it has left out: each further double would be blamed on a good row."""
    await pg.run(postgres_dsn, "CREATE TABLE clicks (id bigint UNIQUE, name text)")
    ids = [*range(10), 3, *range(10, 20), 12, *range(20, 30), 3]
    rows = pa.table({"id": pa.array(ids, pa.int64()), "name": pa.array(map(str, ids), pa.string())})
    async with pg.opened(postgres_dsn) as sink:
        await sink.describe(writes.LANE, "clicks", rows.schema)
        answer = await sink.write(writes.batch(rows, writes.span(0, len(ids))))
    assert [row.row for row in answer.rejected] == [10, 21, 32]


async def test_a_table_that_is_locked_is_pressure(postgres_dsn):
    """Catches a migration's lock taken for an outage, or waited for without an end."""
    connection = await asyncpg.connect(postgres_dsn)
    async with pg.opened(postgres_dsn, timeout_seconds=1.0) as sink:
        await sink.describe(writes.LANE, "clicks", pg.SCHEMA)
        async with connection.transaction():
            await connection.execute("LOCK TABLE clicks")
            found = await failure(sink, describe=False)
        assert (found.result_class, found.code) == (PRESSURE, "55P03")
        await pg_child.land(sink, 0, 1)
    await connection.close()


async def test_a_table_that_went_away_halts_and_goes_on_when_it_is_back(postgres_dsn):
    """Catches rows dead-lettered over a migration, and columns that are remembered although the table is another one."""
    async with pg.opened(postgres_dsn) as sink:
        await first_lands(sink)
        await pg.run(postgres_dsn, "ALTER TABLE clicks RENAME TO old;")
        found = await failure(sink, 1, describe=False)
        assert (found.result_class, found.code) == (CONFIG, "42P01")
        assert (await failure(sink, 1, describe=False)).code == "NO_TABLE"
        await pg.run(postgres_dsn, "CREATE TABLE clicks (name text, id bigint, other int);")
        assert (await sink.write(writes.batch(ROW, writes.span(1, 2)))).written == 1


async def first_lands(sink):
    await sink.describe(writes.LANE, "clicks", pg.SCHEMA)
    await sink.write(writes.batch(ROW, writes.span(0, 1)))


async def test_a_database_that_is_missing_is_for_a_person(postgres_dsn):
    """Catches endless retries against a typing error."""
    async with pg.opened(postgres_dsn, database="nowhere") as sink:
        found = await failure(sink)
    assert (found.result_class, found.code) == (CONFIG, "3D000")
    assert found.remedy == "create the database, or correct postgres.database"


async def test_a_port_where_nobody_listens_is_an_outage(postgres_dsn):
    """Catches a server that is down taken for a wrong setting."""
    async with pg.opened(postgres_dsn, port=1) as sink:
        found = await failure(sink)
    assert (found.result_class, found.code) == (OUTAGE, "UNREACHABLE")
    assert "127.0.0.1:1/" in found.message


async def test_a_primary_that_became_read_only_is_an_outage(postgres_dsn):
    """Catches a failover that halts the lane."""
    async with pg.opened(postgres_dsn) as sink:
        await sink.describe(writes.LANE, "clicks", pg.SCHEMA)
        name = postgres_dsn.rpartition("/")[2]
        await pg.run(postgres_dsn, f"ALTER DATABASE {name} SET default_transaction_read_only = on;")
        sink._pool._idle[0].connection.terminate()
        found = await failure(sink, describe=False)
        assert (found.result_class, found.code) == (OUTAGE, "25006")
        await pg.run(postgres_dsn.replace(name, "postgres"), f"ALTER DATABASE {name} RESET ALL;")
        await pg_child.land(sink, 0, 1)


@contextlib.asynccontextmanager
async def role(dsn, *options, method="trust"):
    """A role of its own that logs in as `method` says."""
    name = f"r{uuid.uuid4().hex}"
    await pg.run(dsn, f"CREATE ROLE {name} LOGIN {' '.join(options)};")
    put_back = _let_in(pathlib.Path((await pg.run(dsn, "SHOW hba_file"))[0][0]), f"host all {name} 127.0.0.1/32 {method}")
    await pg.run(dsn, "SELECT pg_reload_conf()")
    try:
        yield name
    finally:
        put_back()
        await pg.run(dsn, f"SELECT pg_reload_conf(); DROP OWNED BY {name}; DROP ROLE {name};")


def _let_in(path, line):
    before = path.read_text()
    path.write_text(f"{line}\n{before}")
    return lambda: path.write_text(before)


async def test_a_user_without_rights_halts_with_what_to_grant(postgres_dsn):
    """Catches a permission taken for an outage, and a state schema that can't be made without saying how it would look."""
    async with role(postgres_dsn) as name, pg.opened(postgres_dsn, user=lambda: name) as sink:
        found = await failure(sink)
        assert (found.result_class, found.code) == (CONFIG, "STATE_SCHEMA")
        assert 'CREATE TABLE IF NOT EXISTS "penstock".landed' in found.remedy
        async with pg.opened(postgres_dsn) as owner:
            await first_lands(owner)
        verify = tables.TablePolicy.VERIFY
        async with pg.opened(postgres_dsn, user=lambda: name, table_policy=verify) as poor:
            await pg.run(postgres_dsn, f"GRANT USAGE ON SCHEMA penstock TO {name}; GRANT ALL ON penstock.landed TO {name};")
            found = await failure(poor, 5)
            assert (found.result_class, found.code) == (CONFIG, "42501")
            await pg.run(postgres_dsn, f"GRANT INSERT ON clicks TO {name};")
            assert (await poor.write(writes.batch(ROW, writes.span(5, 6)))).written == 1


async def test_a_password_that_was_renewed_is_used_without_a_restart(postgres_dsn):
    """Catches credentials that are read once, and rejected ones that halt the lane or show themselves."""
    told = {"password": "hunter2-old"}
    async with (
        role(postgres_dsn, "SUPERUSER", "PASSWORD 'hunter2-new'", method="scram-sha-256") as name,
        pg.opened(postgres_dsn, user=lambda: name, password=lambda: told["password"]) as sink,
    ):
        found = await failure(sink)
        assert (found.result_class, found.code) == (OUTAGE, "CREDENTIALS_REJECTED")
        assert "hunter2" not in f"{found}"
        told["password"] = "hunter2-new"
        await first_lands(sink)


async def test_too_many_connections_are_pressure(postgres_dsn):
    """Catches a full server that opens the circuit."""
    async with role(postgres_dsn, "CONNECTION LIMIT 0") as name, pg.opened(postgres_dsn, user=lambda: name) as sink:
        found = await failure(sink)
    assert (found.result_class, found.code) == (PRESSURE, "53300")


async def test_a_full_pool_is_pressure_and_its_figures_add_up(postgres_dsn):
    """Catches writers beyond maxConnections, a wait without an end, and gauges that drift."""

    def figure(state):
        return metrics.SINK_POOL_CONNECTIONS.labels("Postgres", state)._value.get()

    before = {state: figure(state) for state in ("limit", "in_use", "idle")}
    async with pg.opened(postgres_dsn, max_connections=1, timeout_seconds=1.0) as sink:
        await sink.describe(writes.LANE, "clicks", pg.SCHEMA)
        assert figure("idle") - before["idle"] == 1
        async with sink._opened().connection(1.0):
            assert (figure("in_use") - before["in_use"], figure("idle") - before["idle"]) == (1, 0)
            found = await failure(sink, describe=False)
        assert (found.result_class, found.code) == (PRESSURE, "POOL_WAIT")
    assert {state: figure(state) for state in before} == before


async def test_idle_and_old_connections_are_closed(postgres_dsn):
    """Catches connections that a quiet pipeline keeps for ever, and ones that outlive a server's rollout."""
    async with pg.opened(postgres_dsn) as sink:
        found = sink._opened()
        found._lifetime_seconds, found._idle_seconds = 0.0, 0.01
        await sink.describe(writes.LANE, "clicks", pg.SCHEMA)
        assert found._idle == []
        found._lifetime_seconds = 60.0
        await pg_child.land(sink, 0, 1)
        await found._sweeping
        assert found._idle == []


async def test_a_server_that_is_killed_under_load_loses_nothing_and_doubles_nothing(postgres_server, postgres_dsn):
    """Catches commits whose answer was lost and that land again, and a pool that stays with dead connections."""
    async with pg.opened(postgres_dsn) as sink:
        await sink.describe(writes.LANE, "clicks", pg.SCHEMA)
        failures, landed = [], []

        async def land_all(partition):
            for offset in range(60):
                await until_landed(sink, offset, partition, failures)
                landed.append(offset)

        writing = asyncio.gather(*map(land_all, range(3)))
        await lane_run.until(lambda: len(landed) > 30)
        await asyncio.to_thread(postgres_server.server.kill)
        await asyncio.to_thread(start_again, postgres_server.server)
        await until_it_answers(postgres_dsn)
        await writing
    assert failures
    assert {found.result_class for found in failures} == {OUTAGE}
    wanted = [3_000 * partition + row for partition in range(3) for row in range(180)]
    assert await pg.landed_ids(postgres_dsn) == wanted


def start_again(process_):
    """It refuses to start while those it had started itself are still going."""
    for _ in range(50):
        try:
            return process_.start()
        except process.ServerError:
            time.sleep(0.1)
    return process_.start()


async def until_it_answers(dsn):
    """It listens before it has read its log."""
    for _ in range(200):
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return await pg.run(dsn, "SELECT 1")
        await asyncio.sleep(0.05)
    raise AssertionError("the server does not come back")


async def until_landed(sink, offset, partition, failures):
    for _ in range(400):
        try:
            return await pg_child.land(sink, offset, offset + 1, partition)
        except port.SinkError as error:
            failures.append(error.failure)
            await asyncio.sleep(0.02)
    raise AssertionError(failures[-1])


async def test_tls_checks_the_chain_and_the_name(postgres_dsn):
    """Catches a certificate that is not checked, or checked for the chain alone."""
    at, authority = pg.settings(postgres_dsn).server, (tls_front.CERTIFICATES / "authority.crt").read_text()
    async with tls_front.front("first", at.host, at.port) as listening:
        told = {"port": listening, "tls": certificates.Tls(place="postgres.tls", authority=lambda: authority)}
        async with pg.opened(postgres_dsn, **told, host="localhost") as sink:
            await first_lands(sink)
        async with pg.opened(postgres_dsn, **told, host="127.1") as sink:
            assert (await failure(sink)).code == "TLS"
        async with pg.opened(postgres_dsn, port=listening, tls=certificates.Tls(place="postgres.tls"), host="localhost") as sink:
            found = await failure(sink)
            assert (found.result_class, found.code) == (OUTAGE, "TLS")


async def test_a_server_that_asks_for_a_certificate_is_shown_the_one_that_is_mounted_now(postgres_dsn):
    """Catches a client's certificate that nobody passes on, one that is read once, and a refusal taken for bad data."""
    at, shown = pg.settings(postgres_dsn).server, ["other-client"]

    def read(suffix):
        return (tls_front.CERTIFICATES / f"{shown[0]}.{suffix}").read_text()

    told = certificates.Tls(
        place="postgres.tls",
        authority=lambda: (tls_front.CERTIFICATES / "authority.crt").read_text(),
        certificate=lambda: read("crt"),
        key=lambda: read("key"),
    )
    async with (
        tls_front.front("first", at.host, at.port, clients="authority") as listening,
        pg.opened(postgres_dsn, port=listening, tls=told, host="localhost") as sink,
    ):
        assert (await failure(sink)).result_class is OUTAGE
        shown[0] = "client"
        await first_lands(sink)


async def test_a_server_without_tls_is_not_spoken_to_in_plain_text(postgres_dsn):
    """Catches a client that goes on without encryption when the server has none."""
    async with pg.opened(postgres_dsn, tls=certificates.Tls(place="postgres.tls")) as sink:
        assert (await failure(sink)).result_class is OUTAGE


async def test_an_authority_that_is_no_certificate_is_for_a_person(postgres_dsn):
    """Catches an exception without a name of the field."""
    async with pg.opened(postgres_dsn, tls=certificates.Tls(place="postgres.tls", authority=lambda: "none")) as sink:
        found = await failure(sink)
    assert (found.result_class, found.code) == (CONFIG, "CERTIFICATE")


async def test_a_write_that_is_cancelled_gives_up_its_connection(postgres_dsn):
    """Catches a connection in the middle of a COPY that the next write gets."""
    async with pg.opened(postgres_dsn) as sink:
        await sink.describe(writes.LANE, "clicks", pg.SCHEMA)
        await trigger(postgres_dsn, "PERFORM pg_sleep(20)")
        writing = asyncio.create_task(sink.write(writes.batch(ROW, writes.span(0, 1))))
        await asyncio.sleep(0.2)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        assert sink._pool._idle == []
        await pg.run(postgres_dsn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'penstock'")
        await pg.run(postgres_dsn, "DROP TRIGGER hook ON clicks;")
        await pg_child.land(sink, 0, 1)


async def test_a_row_that_is_too_large_for_an_index_is_named(postgres_dsn):
    """Catches a program limit that is not the row's fault by its class, and is by its meaning."""
    await pg.run(postgres_dsn, "CREATE TABLE clicks (id bigint, name text UNIQUE);")
    noise = "".join(chr(33 + (at * at * 31 + at) % 90) + uuid.uuid4().hex for at in range(400))
    rows = pa.table({"id": pa.array([0, 1, 2], pa.int64()), "name": ["a", noise, "c"]})
    async with pg.opened(postgres_dsn) as sink:
        await sink.describe(writes.LANE, "clicks", rows.schema)
        answer = await sink.write(writes.batch(rows, writes.span(0, 1)))
    assert [(row.row, row.code) for row in answer.rejected] == [(1, "54000")]
