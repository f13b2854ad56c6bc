"""From `spec.log` to an open log: files in the data directory, or topics of a Kafka cluster.

Topics are called `<namespace>.<name>.<topic>`, consumer groups `<namespace>.<name>.<lane>.<topic>`: neither part holds a dot,
so no two pipelines share one.
"""

from __future__ import annotations

import pathlib
import ssl
import tempfile
from collections.abc import Mapping

from penstock.api.model import base as api_base
from penstock.api.model import log as api_log
from penstock.api.model import pipeline as api_pipeline
from penstock.core import failpoints
from penstock.ingest import secret as secret_port
from penstock.log import port
from penstock.log.embedded import front as embedded
from penstock.log.kafka import front as kafka
from penstock.log.kafka import settings as kafka_settings
from penstock.machine import directory, lanes, secrets

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
    """`data` is where an embedded log lies; a shared one needs none, and is never opened for reading only.

    Raises LogError, SinkError (config) for a password that isn't there, SecretError for a certificate that can't be used.
    """
    if is_shared(pipeline):
        return await kafka.KafkaLog.open(settings_for(pipeline, secret_store))
    if data is None:
        raise port.LogError("spec.log.type is not Kafka: only one process can have an embedded log; use `penstock run`")
    if read_only:
        return await embedded.EmbeddedLog.open(data.log_path, read_only=True)
    told = pipeline.spec.log.retention if pipeline.spec.log else api_log.Retention()
    return await embedded.EmbeddedLog.open(
        data.log_path, partitions=lanes.partitions(pipeline), max_bytes=told.max_bytes, failpoint=failpoint
    )


async def open_there(data: directory.DataDirectory, environment: Mapping[str, str]) -> port.EventLog:
    """The log of whatever has run in this directory, to look at. Raises LogError, DirectoryError, SinkError, SecretError."""
    pipeline = data.pinned()
    if pipeline is None or not is_shared(pipeline):
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
        security=kafka_settings.Security(tls=_tls(told.kafka, secret_store), login=_login(told.kafka, secret_store)),
    )


def _login(told: api_log.KafkaLog, secret_store: secrets.SecretStore) -> kafka_settings.Login | None:
    authentication = told.authentication
    mechanism, password = _MECHANISMS.get(authentication.type), authentication.password_secret_ref
    if mechanism is None or password is None:
        return None
    return kafka_settings.Login(
        mechanism=mechanism,
        user=authentication.username or "",
        password=secret_store.value(password.name, password.key),
    )


def _tls(told: api_log.KafkaLog, secret_store: secrets.SecretStore) -> ssl.SSLContext | None:
    by_certificate = told.authentication.type == "Tls"
    if told.tls is None and not by_certificate:
        return None
    speaking = told.tls or api_base.ClientTls()
    authority = speaking.ca_secret_ref
    try:
        trusted = secret_store.value(authority.name, authority.key) if authority else None
        context = ssl.create_default_context(cadata=trusted)
    except ssl.SSLError as error:
        raise secret_port.SecretError(f"spec.log.kafka.tls.caSecretRef: not certificates in PEM form: {error}") from error
    own = told.authentication.secret_ref if by_certificate else speaking.secret_ref
    if own is not None:
        _show(context, own.name, secret_store)
    return context


def _show(context: ssl.SSLContext, name: str, secret_store: secrets.SecretStore) -> None:
    """Give the context a certificate of its own; it can be loaded from files only."""
    with tempfile.TemporaryDirectory() as folder:
        files = {key: pathlib.Path(folder) / key for key in ("tls.crt", "tls.key")}
        for key, path in files.items():
            path.touch(mode=0o600)
            path.write_text(secret_store.value(name, key))
        try:
            context.load_cert_chain(files["tls.crt"], files["tls.key"])
        except (ssl.SSLError, OSError) as error:
            message = f'secret "{name}": tls.crt and tls.key are no certificate with its key: {error}'
            raise secret_port.SecretError(message) from error
