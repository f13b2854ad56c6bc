"""The servers other tests build on are real, and reachable the way those tests reach them."""

from __future__ import annotations

import asyncio
import io
import subprocess
import urllib.parse
import urllib.request

import aiokafka
import pyarrow as pa
import pytest
from aiokafka import admin, helpers
from tests.servers import clickhouse, kafka


async def test_kafka_takes_a_record_and_gives_it_back(kafka_server):
    """Catches a broker that listens but can't store."""
    client = admin.AIOKafkaAdminClient(bootstrap_servers=kafka_server.bootstrap)
    await client.start()
    await client.create_topics([admin.NewTopic("smoke", 1, 1)])
    await client.close()
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=kafka_server.bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    sent = await producer.send_and_wait("smoke", b"value")
    await producer.stop()
    assert sent.offset == 0


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_kafka_speaks_tls_and_knows_its_user(kafka_server, mechanism):
    """Catches a secure listener that lets anybody in, or nobody."""
    settings = {
        "bootstrap_servers": kafka_server.secure,
        "security_protocol": "SASL_SSL",
        "ssl_context": helpers.create_ssl_context(cafile=str(kafka.AUTHORITY)),
        "sasl_mechanism": mechanism,
        "sasl_plain_username": kafka.USER,
    }
    client = admin.AIOKafkaAdminClient(**settings, sasl_plain_password=kafka.PASSWORD)
    await client.start()
    await client.close()
    with pytest.raises(aiokafka.errors.KafkaError):
        await asyncio.wait_for(admin.AIOKafkaAdminClient(**settings, sasl_plain_password="wrong").start(), 20)


def test_postgres_answers_in_a_database_of_the_test_s_own(postgres_server, postgres_dsn, installed_servers):
    """Catches a server that listens but was never initialised."""
    psql = installed_servers.postgres / "bin" / "psql"
    done = subprocess.run([psql, postgres_dsn, "-Atc", "select 1 + 1"], capture_output=True, text=True, check=True)
    assert done.stdout == "2\n"


def test_clickhouse_recognises_a_token_and_names_its_errors(clickhouse_server, clickhouse_database):
    """Catches a front that loses data, settings, or the engine's error codes."""
    clickhouse_server.query(
        "CREATE TABLE t (id UInt64, name String DEFAULT 'none') ENGINE = MergeTree ORDER BY id"
        " SETTINGS non_replicated_deduplication_window = 100",
        clickhouse_database,
    )
    rows = pa.table({"id": pa.array([1, 2], pa.uint64())})
    for token in ("a", "a", "b"):
        status, _ = post(clickhouse_server, clickhouse_database, "t", rows, token)
        assert status == 200
    assert clickhouse_server.query("SELECT count(), min(name) FROM t", clickhouse_database) == "4\tnone\n"
    status, code = post(clickhouse_server, clickhouse_database, "missing", rows, "c")
    assert (status, code) == (404, "60")
    with pytest.raises(clickhouse.RefusedError, match="SYNTAX_ERROR"):
        clickhouse_server.query("SELECT FROM WHERE")


def post(server, database, table, rows, token):
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, rows.schema) as writer:
        writer.write_table(rows)
    query = {"query": f"INSERT INTO {table} (id) FORMAT ArrowStream", "database": database, "insert_deduplication_token": token}
    request = urllib.request.Request(
        f"{server.url}/?{urllib.parse.urlencode(query)}",
        data=pa.Codec("zstd").compress(stream.getvalue(), asbytes=True),
        headers={"X-ClickHouse-User": "default", "X-ClickHouse-Key": clickhouse.PASSWORD, "Content-Encoding": "zstd"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, None
    except urllib.error.HTTPError as error:
        return error.code, error.headers["X-ClickHouse-Exception-Code"]
