"""The member of a sink that says which store it is: one model per `spec.sinks[].type`."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from penstock.api.model import base, source


class ClickHouse(base.Model):
    """A ClickHouse server, over HTTP."""

    url: base.HttpUrl
    """Address of the server, such as "http://clickhouse:8123"."""
    database: base.Column
    """Database of the table."""
    table: base.TableChoice
    """The table: a name, or a template over columns."""
    authentication: base.BasicAuthentication = base.BasicAuthentication()
    """Credentials for the server."""
    tls: base.ClientTls | None = None
    """How an https:// server's certificate is checked. Omitted: with the system's authorities."""


class Postgres(base.Model):
    """A PostgreSQL database."""

    host: base.Host
    """Host of the server."""
    port: base.Port = 5432
    """Port of the server."""
    database: base.Word
    """Database of the table."""
    table: base.TableChoice
    """The table: a name, with its schema before a dot if need be, or a template over columns."""
    write: Literal["Append", "Upsert"] = "Append"
    """Append: every row is inserted. Upsert: a row replaces the one with the same key."""
    key: Annotated[tuple[base.Column, ...], pydantic.Field(min_length=1, max_length=16)] | None = None
    """The columns that make a row unique. Belongs to Upsert."""
    version_column: base.Column | None = None
    """A row replaces only one whose value here is smaller. Omitted: the later event wins. Belongs to Upsert."""
    state_schema: base.Column = "penstock"
    """The schema where Penstock notes what has landed."""
    max_connections: Annotated[int, base.whole(1, 1000)] = 10
    """Connections per sink pod."""
    authentication: base.BasicAuthentication = base.BasicAuthentication()
    """Credentials for the server."""
    tls: base.ClientTls | None = None
    """Set to speak TLS with the server. Omitted: plain text."""


class RecordHeader(base.Model):
    """One header of the records that are written."""

    name: base.Word
    """Name of the header."""
    value: base.Sql
    """SQL over the output columns."""


class KafkaSinkFormat(base.Model):
    """How the value of a record is written."""

    type: Literal["Json", "Avro", "JsonSchema", "Protobuf"] = "Json"
    """Json: without a registry. The others: in the registry's wire format."""
    registry: source.Registry | None = None
    """The schema registry. Needed by all but Json."""


class KafkaSink(base.Model):
    """Topics of a Kafka cluster; one record per row."""

    bootstrap_servers: base.BootstrapServers
    """Brokers to ask first, each host:port."""
    topic: base.TableChoice
    """The topic: a name, or a template over columns."""
    key: base.Sql | None = None
    """SQL over the output columns that gives the record's key. Omitted: no key."""
    headers: Annotated[tuple[RecordHeader, ...], base.named(32)] = ()
    """Headers of each record, beside penstock-event-id, which every record has."""
    tombstone: base.Sql | None = None
    """SQL over the output columns. Where it is true the record has its key and no value, which deletes the key from a
    compacted topic. Needs key."""
    partitions: Annotated[int, base.whole(1, 10_000)] | None = None
    """Partitions of a topic that tablePolicy CreateIfMissing makes. Omitted: the brokers' default."""
    replication_factor: Annotated[int, base.whole(1, 15)] | None = None
    """Copies of each partition of a topic that is made. Omitted: the brokers' default."""
    format: KafkaSinkFormat = KafkaSinkFormat()
    """How a record's value is written."""
    compression: Literal["None", "Gzip", "Snappy", "Lz4", "Zstd"] = "Zstd"
    """How the producer compresses."""
    linger_milliseconds: Annotated[int, base.whole(1, 10_000)] | None = None
    """How long rows are collected before they are sent, where batching.static.lingerMilliseconds doesn't say. The producer
    itself waits for nothing: what it is given is a batch already. Omitted: as batching.objective has it."""
    batch_bytes: Annotated[int, base.whole(1024, 64 << 20)] = 1 << 20
    """Size of the producer's batch of one partition."""
    authentication: base.KafkaAuthentication = base.KafkaAuthentication()
    """Credentials for the brokers."""
    tls: base.ClientTls | None = None
    """Set to speak TLS with the brokers. Omitted: plain text."""


class PartitionColumn(base.Model):
    """One level of folders, name=value."""

    name: base.Column
    """Name of the column, and of the folder before the equals sign. The files don't repeat it."""
    value: base.Sql | None = None
    """SQL over the same columns as `select`. Omitted: the output column of this name."""


class FilesAuthentication(base.Model):
    """How Penstock proves to the object store who it is."""

    type: Literal["None", "AccessKey", "WorkloadIdentity"] = "None"
    """None: no credentials. AccessKey: keys access-key-id and secret-access-key of the Secret. WorkloadIdentity: the
    service account's."""
    secret_ref: base.SecretReference | None = None
    """The Secret with the keys. Belongs to AccessKey."""


class Files(base.Model):
    """Files in a folder or bucket; one file per batch and partition folder."""

    url: Annotated[str, base.text(1024, base.FILES_URL)]
    """Where: "s3://bucket/prefix", "file:///absolute/path", or "file://./path" relative to where Penstock was started."""
    format: Literal["Parquet", "Ndjson"] = "Parquet"
    """Parquet: columns. Ndjson: one JSON object per line."""
    partition: Annotated[tuple[PartitionColumn, ...], base.named(8)] = ()
    """Folders by value, in Hive style, outermost first."""
    authentication: FilesAuthentication = FilesAuthentication()
    """Credentials for the object store."""


class DuckDB(base.Model):
    """A DuckDB file on this machine."""

    path: Annotated[str, base.text(1024)]
    """The database file; relative to where Penstock was started. It is made if it isn't there."""
    table: base.TableChoice
    """The table: a name, or a template over columns."""


class HttpHeader(base.Model):
    """One header of each request: a value, or a Secret's key."""

    name: Annotated[str, base.text(128, base.HEADER)]
    """Name of the header."""
    value: Annotated[str, pydantic.Field(max_length=4096)] | None = None
    """The value, readable by everybody who can read this object."""
    secret_key_ref: base.SecretKeyReference | None = None
    """Where the value is kept, if it is secret."""


StatusCodes = Annotated[tuple[Annotated[int, base.whole(400, 599)], ...], pydantic.Field(max_length=32)]


class Http(base.Model):
    """An HTTP endpoint; one request per batch."""

    url: base.HttpUrl
    """Address of the endpoint."""
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    """Method of each request."""
    format: Literal["Ndjson", "JsonArray"] = "Ndjson"
    """Ndjson: one JSON object per line. JsonArray: one array of objects."""
    headers: Annotated[tuple[HttpHeader, ...], base.named(32)] = ()
    """Headers of each request."""
    idempotency_header: Annotated[str, base.text(128, base.HEADER)] | None = None
    """Header that carries a key of each request, the same when it is sent again, for endpoints that drop a repeated one."""
    data_status_codes: StatusCodes = (400, 409, 422)
    """Answers that mean: a row in here is wrong. Every other answer outside 2xx is an outage, except a redirect: none is
    followed."""
    split_status_codes: StatusCodes = (413,)
    """Answers that mean: send less at once."""


class ServiceReference(base.Model):
    """A Service in the pipeline's own namespace."""

    name: Annotated[str, base.text(63, base.DNS_LABEL)]
    """Name of the Service."""
    port: base.Port
    """Port of the Service."""


class Custom(base.Model):
    """Your own deployment that speaks penstock.v1.Sink."""

    service_ref: ServiceReference
    """The Service in front of it."""
