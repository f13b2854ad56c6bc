"""From `spec.log` to an open log: files in the data directory, or topics of a Kafka cluster.

Topics are called `<namespace>.<name>.<topic>`, consumer groups `<namespace>.<name>.<lane>.<topic>`: neither part holds a dot,
so no two pipelines share one.
"""

from __future__ import annotations

import dataclasses
import functools
import ssl
from collections.abc import Mapping
from typing import Protocol

import structlog

from penstock.api import references
from penstock.api.model import base as api_base
from penstock.api.model import log as api_log
from penstock.api.model import pipeline as api_pipeline
from penstock.api.model import source as api_source
from penstock.core import failpoints
from penstock.ingest import secret as secret_port
from penstock.log import port
from penstock.log.embedded import front as embedded
from penstock.log.kafka import front as kafka
from penstock.log.kafka import settings as kafka_settings
from penstock.log.kafka.foreign import front as foreign
from penstock.machine import directory, lanes, secrets, sourcing
from penstock.sinks import port as sinks_port
from penstock.tls import client as tls_client

_log = structlog.get_logger()

_MECHANISMS = {
    "ScramSha512": kafka_settings.Mechanism.SCRAM_SHA_512,
    "Plain": kafka_settings.Mechanism.PLAIN,
}


def is_shared(pipeline: api_pipeline.BatchPipeline) -> bool:
    """Whether several processes may have the pipeline's log open, and divide its partitions among them."""
    return pipeline.spec.log is not None and pipeline.spec.log.type == "Kafka"


async def open_log(
    pipeline: api_pipeline.BatchPipeline,
    data: directory.DataDirectory | None,
    secret_store: secrets.SecretStore,
    failpoint: failpoints.Failpoint = failpoints.nothing,
    *,
    read_only: bool = False,
) -> port.EventLog:
    """`data` is where an embedded log lies; a shared one needs none. `read_only`: a log that isn't there is not made.

    Raises LogError, SinkError (config) for a password that isn't there, SecretError for a certificate that can't be used.
    """
    if (source := sourcing.kafka_source(pipeline)) is not None:
        beside = functools.partial(_open_beside, pipeline, data, secret_store, failpoint, read_only=read_only)
        return await sourcing.open_source(pipeline, source, security(source, secret_store), secret_store.value, beside)
    if is_shared(pipeline):
        return await kafka.KafkaLog.open(settings_for(pipeline, secret_store), create=not read_only)
    return await _open_embedded(pipeline, data, failpoint, lanes.partitions(pipeline), read_only=read_only)


async def _open_beside(
    pipeline: api_pipeline.BatchPipeline,
    data: directory.DataDirectory | None,
    secret_store: secrets.SecretStore,
    failpoint: failpoints.Failpoint,
    partitions: int,
    *,
    read_only: bool,
) -> foreign.Own:
    """The pipeline's own log beside the topics of its source, and grown with them."""
    if is_shared(pipeline):
        settings = dataclasses.replace(settings_for(pipeline, secret_store), partitions=partitions)
        return await kafka.KafkaLog.open(settings, port.DEAD_LETTERS, create=not read_only, grows=True)
    return await _open_embedded(pipeline, data, failpoint, partitions, read_only=read_only, grows=True)


async def _open_embedded(
    pipeline: api_pipeline.BatchPipeline,
    data: directory.DataDirectory | None,
    failpoint: failpoints.Failpoint,
    partitions: int,
    *,
    read_only: bool,
    grows: bool = False,
) -> foreign.Own:
    if data is None:
        raise port.LogError("spec.log.type is not Kafka: only one process can have an embedded log; use `penstock run`")
    if read_only:
        return await embedded.EmbeddedLog.open(data.log_path, read_only=True)
    told = pipeline.spec.log.retention if pipeline.spec.log else api_log.Retention()
    return await embedded.EmbeddedLog.open(
        data.log_path, partitions=partitions, max_bytes=told.max_bytes, grows=grows, failpoint=failpoint
    )


async def open_there(data: directory.DataDirectory, environment: Mapping[str, str]) -> port.EventLog:
    """The log of whatever has run in this directory, to look at. Raises LogError, DirectoryError, SinkError, SecretError."""
    pipeline = data.pinned()
    if pipeline is None or not (is_shared(pipeline) or sourcing.kafka_source(pipeline)):
        return await embedded.EmbeddedLog.open(data.log_path, read_only=True)
    known = secrets.SecretStore(data.secrets_path, environment, secrets.names(pipeline))
    return await open_log(pipeline, data, known, read_only=True)


def settings_for(pipeline: api_pipeline.BatchPipeline, secret_store: secrets.SecretStore) -> kafka_settings.Settings:
    """What `spec.log` says of the cluster. Raises SinkError (config), SecretError."""
    told = pipeline.spec.log
    if told is None or told.kafka is None:
        raise port.LogError("spec.log.kafka is missing: name the cluster's bootstrapServers there")
    copies = told.kafka.replication_factor
    return kafka_settings.Settings(
        bootstrap=",".join(told.kafka.bootstrap_servers),
        prefix=f"{pipeline.metadata.namespace}.{pipeline.metadata.name}",
        partitions=told.kafka.partitions,
        replication=copies,
        # A majority, and with two copies one, so that a broker may be away.
        min_in_sync=1 if copies <= 2 else copies // 2 + 1,
        max_bytes=told.retention.max_bytes,
        security=security(told.kafka, secret_store),
    )


class Cluster(Protocol):
    """How a part of the API that names a cluster says who Penstock is there."""

    @property
    def authentication(self) -> api_base.KafkaAuthentication: ...

    @property
    def tls(self) -> api_base.ClientTls | None: ...


def security(told: Cluster, secret_store: secrets.SecretStore) -> kafka_settings.Security:
    """As the secrets have it now, and whenever a connection is made. Raises SinkError (config), SecretError."""
    found = _security(told, secret_store)
    if found.tls is None and found.login is None:
        return found
    return dataclasses.replace(found, renewed=_Renewal(found, told, secret_store))


class _Renewal:
    """While a secret is being exchanged it may be unreadable: then what it was last goes on."""

    def __init__(self, known: kafka_settings.Security, told: Cluster, secret_store: secrets.SecretStore) -> None:
        self._known, self._told, self._store = known, told, secret_store
        self._values: object = None

    def __call__(self) -> kafka_settings.Security:
        try:
            # Connections are tried many times a second while brokers are away, and an authority takes milliseconds to load.
            parts = filter(None, (self._told.authentication, self._told.tls))
            values = {name: self._store.named(name).read() for part in parts for name in references.secrets(part)}
            if values != self._values:
                if self._values is not None:
                    _log.info("credentials_changed", secrets=sorted(values))
                self._known, self._values = _security(self._told, self._store), values
        except (sinks_port.SinkError, secret_port.SecretError) as error:
            _log.warning("credentials_kept", why=str(error))
        return self._known


def _security(told: Cluster, secret_store: secrets.SecretStore) -> kafka_settings.Security:
    return kafka_settings.Security(tls=_tls(told, secret_store), login=_login(told, secret_store))


def _login(told: Cluster, secret_store: secrets.SecretStore) -> kafka_settings.Login | None:
    authentication = told.authentication
    mechanism, password = _MECHANISMS.get(authentication.type), authentication.password_secret_ref
    if mechanism is None or password is None:
        return None
    return kafka_settings.Login(
        mechanism=mechanism,
        user=authentication.username or "",
        password=secret_store.value(password.name, password.key),
    )


def _tls(told: Cluster, secret_store: secrets.SecretStore) -> ssl.SSLContext | None:
    by_certificate = told.authentication.type == "Tls"
    if told.tls is None and not by_certificate:
        return None
    own = told.authentication.secret_ref if by_certificate else None
    reading = functools.partial(functools.partial, secret_store.value)
    try:
        return sourcing.client_tls(_place(told), told.tls or api_base.ClientTls(), reading, own).context()
    except tls_client.CertificateError as error:
        raise secret_port.SecretError(f"{error}; put PEM certificates and keys into the secret") from error


def _place(told: Cluster) -> str:
    """Of the setting, for messages."""
    if isinstance(told, api_source.KafkaSource):
        return "spec.source.kafka.tls"
    return "spec.log.kafka.tls" if isinstance(told, api_log.KafkaLog) else "spec.source.kafkaTopic.tls"
