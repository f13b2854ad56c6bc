"""From a sink of the pipeline object to its writer."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from penstock.api import lower
from penstock.api.model import base as api_base
from penstock.api.model import sinks, stores
from penstock.core import failpoints
from penstock.sinks import certificates, port, tables
from penstock.sinks.files import formats as files_format
from penstock.sinks.files import writer as files

if TYPE_CHECKING:
    from penstock.sinks.kafka import rows as kafka_rows

T = TypeVar("T")

_LOCAL = "file://"

Secrets = Callable[[str, str], str]
"""The value of a key of a Secret, by (name, key), as it is now. Raises SinkError (config) for one that isn't there."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Surroundings:
    directory: pathlib.Path
    secrets: Secrets
    failpoint: failpoints.Failpoint


def no_secrets(name: str, key: str) -> str:
    """What reads secrets where there are none."""
    raise tables.misconfigured("SECRET", f"no key {key} of a secret {name} can be read here", "write the value itself")


def open_writer(
    sink: sinks.Sink,
    *,
    directory: pathlib.Path,
    secrets: Secrets = no_secrets,
    failpoint: failpoints.Failpoint = failpoints.nothing,
) -> port.SinkWriter:
    """The writer, with nothing opened yet; relative paths are relative to `directory`, the one Penstock was started in.

    `secrets` is asked with each write that needs one. Raises SinkError (config) for a type that has no writer here, or whose
    settings are missing.
    """
    build = _BUILDERS.get(sink.type)
    if build is None:
        known = ", ".join(sorted(_BUILDERS))
        raise tables.misconfigured(
            "SINK_TYPE", f"sink {sink.name}: there is no writer for type {sink.type}", f"use {known}, the ones there are"
        )
    return build(sink, _Surroundings(directory=directory, secrets=secrets, failpoint=failpoint))


def _duckdb(sink: sinks.Sink, around: _Surroundings) -> port.SinkWriter:
    # Here and not above: who only writes files does without the extra that brings DuckDB.
    from penstock.sinks.duckdb import writer as duckdb

    settings = _settings(sink, sink.duckdb)
    policy = tables.TablePolicy(sink.table_policy or tables.TablePolicy.CREATE_IF_MISSING.value)
    within = failpoints.within("duckdb", around.failpoint)
    return duckdb.DuckDBWriter(around.directory / settings.path, table_policy=policy, failpoint=within)


def _files(sink: sinks.Sink, around: _Surroundings) -> port.SinkWriter:
    settings = _settings(sink, sink.files)
    if "://" in settings.url and not settings.url.startswith(_LOCAL):
        raise tables.misconfigured(
            "FILES_URL", f"sink {sink.name}: {settings.url} is not on this machine", "use file:///absolute/path"
        )
    return files.FilesWriter(
        around.directory / settings.url.removeprefix(_LOCAL),
        format_=files_format.Format(settings.format),
        partitions=[partition.name for partition in settings.partition],
        failpoint=failpoints.within("files", around.failpoint),
    )


def _http(sink: sinks.Sink, around: _Surroundings) -> port.SinkWriter:
    # As for DuckDB: the client comes with an extra of its own.
    from penstock.sinks.http import answers, headers, writer

    settings = _settings(sink, sink.http)
    endpoint = writer.Endpoint(
        url=settings.url,
        method=settings.method,
        format=writer.Format(settings.format),
        headers=[
            headers.Header(name=told.name, read=_value(told, around.secrets), secret=told.secret_key_ref is not None)
            for told in settings.headers
        ],
        idempotency_header=settings.idempotency_header,
        codes=answers.Codes(data=frozenset(settings.data_status_codes), split=frozenset(settings.split_status_codes)),
    )
    batching = lower.batching(sink)
    return writer.HttpWriter(endpoint, concurrency=batching.limit_concurrency, timeout_seconds=batching.write_timeout_seconds)


def _tls(
    place: str, told: api_base.ClientTls | None, around: _Surroundings, *, own: api_base.SecretReference | None = None
) -> certificates.Tls | None:
    """None without TLS. `own` is the secret with the client's certificate where it stands elsewhere than in `told`."""
    if told is None:
        return None
    reading = functools.partial(functools.partial, around.secrets)
    authority, shown = told.ca_secret_ref, own or told.secret_ref
    return certificates.Tls(
        place=place,
        authority=reading(authority.name, authority.key) if authority else None,
        certificate=reading(shown.name, "tls.crt") if shown else None,
        key=reading(shown.name, "tls.key") if shown else None,
    )


def _clickhouse(sink: sinks.Sink, around: _Surroundings) -> port.SinkWriter:
    # As for DuckDB: the client comes with an extra of its own.
    from penstock.sinks.clickhouse import credentials, writer

    settings, batching = _settings(sink, sink.click_house), lower.batching(sink)
    basic = settings.authentication.secret_ref if settings.authentication.type == "Basic" else None
    reading = functools.partial(functools.partial, around.secrets)
    who = credentials.Credentials(
        user=reading(basic.name, "username") if basic else None,
        password=reading(basic.name, "password") if basic else None,
        tls=_tls("clickHouse.tls", settings.tls, around),
    )
    return writer.ClickHouseWriter(
        writer.Server(url=settings.url, database=settings.database, credentials=who),
        table_policy=tables.TablePolicy(lower.table_policy(sink)),
        concurrency=batching.limit_concurrency,
        timeout_seconds=batching.write_timeout_seconds,
        failpoint=failpoints.within("clickhouse", around.failpoint),
    )


def _postgres(sink: sinks.Sink, around: _Surroundings) -> port.SinkWriter:
    # As for DuckDB: the client comes with an extra of its own.
    from penstock.sinks.postgres import server, table, writer

    settings, batching = _settings(sink, sink.postgres), lower.batching(sink)
    basic = settings.authentication.secret_ref if settings.authentication.type == "Basic" else None
    reading = functools.partial(functools.partial, around.secrets)
    at = server.Server(
        host=settings.host,
        port=settings.port,
        database=settings.database,
        user=reading(basic.name, "username") if basic else None,
        password=reading(basic.name, "password") if basic else None,
        tls=_tls("postgres.tls", settings.tls, around),
    )
    upsert = table.Upsert(key=settings.key or (), version=settings.version_column) if settings.write == "Upsert" else None
    told = writer.Settings(
        server=at,
        state_schema=settings.state_schema,
        max_connections=settings.max_connections,
        upsert=upsert,
        table_policy=tables.TablePolicy(lower.table_policy(sink)),
        timeout_seconds=batching.write_timeout_seconds,
    )
    return writer.PostgresWriter(told, failpoint=failpoints.within("postgres", around.failpoint))


def _kafka(sink: sinks.Sink, around: _Surroundings) -> port.SinkWriter:
    # As for DuckDB: the client comes with an extra of its own.
    from penstock.log.kafka import settings as kafka_settings
    from penstock.sinks.kafka import brokers, compress, rows, writer

    settings, batching = _settings(sink, sink.kafka), lower.batching(sink)
    who = settings.authentication
    reading = functools.partial(functools.partial, around.secrets)
    mechanisms = {"ScramSha512": kafka_settings.Mechanism.SCRAM_SHA_512, "Plain": kafka_settings.Mechanism.PLAIN}
    password = who.password_secret_ref
    at = brokers.Brokers(
        bootstrap=settings.bootstrap_servers,
        mechanism=mechanisms.get(who.type),
        user=who.username or "",
        password=reading(password.name, password.key) if password else None,
        tls=_tls("kafka.tls", settings.tls, around, own=who.secret_ref if who.type == "Tls" else None),
        request_seconds=min(10.0, batching.write_timeout_seconds / 3),
    )
    told = writer.Settings(
        at=at,
        format=_record_format(sink, settings.format, around),
        layout=rows.Layout(headers=[header.name for header in settings.headers]),
        codec=compress.Codec(settings.compression),
        batch_bytes=settings.batch_bytes,
        new_topic=brokers.NewTopic(partitions=settings.partitions, replicas=settings.replication_factor),
        table_policy=tables.TablePolicy(lower.table_policy(sink)),
        timeout_seconds=batching.write_timeout_seconds,
    )
    return writer.KafkaWriter(told, failpoint=failpoints.within("kafka", around.failpoint))


def _record_format(sink: sinks.Sink, told: stores.KafkaSinkFormat, around: _Surroundings) -> kafka_rows.Format:
    from penstock.sinks.kafka import registry, rows

    if told.type == "Json":
        return rows.Json()
    if told.type != "Avro" or told.registry is None:
        raise tables.misconfigured(
            "FORMAT", f"sink {sink.name}: records can't be written as {told.type} yet", "use format type Json or Avro"
        )
    basic = told.registry.authentication.secret_ref
    return rows.Avro(
        registry.Registry(
            url=told.registry.url,
            user=functools.partial(around.secrets, basic.name, "username") if basic else None,
            password=functools.partial(around.secrets, basic.name, "password") if basic else None,
            tls=_tls("kafka.format.registry.tls", told.registry.tls, around),
        )
    )


def _value(header: stores.HttpHeader, secrets: Secrets) -> Callable[[], str]:
    reference = header.secret_key_ref
    if reference is not None:
        return functools.partial(secrets, reference.name, reference.key)
    value = header.value or ""
    return lambda: value


def _settings(sink: sinks.Sink, settings: T | None) -> T:
    if settings is None:
        raise tables.misconfigured("SINK_TYPE", f"sink {sink.name}: type {sink.type} without its settings", "add them")
    return settings


_BUILDERS: Mapping[str, Callable[[sinks.Sink, _Surroundings], port.SinkWriter]] = {
    "ClickHouse": _clickhouse,
    "DuckDB": _duckdb,
    "Files": _files,
    "HTTP": _http,
    "Kafka": _kafka,
    "Postgres": _postgres,
}
