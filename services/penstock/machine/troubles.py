"""Why a process waits, or why its log can't be reached: in one word, a sentence and a remedy, for whoever asks over control."""

from __future__ import annotations

from penstock.api.model import pipeline as api_pipeline
from penstock.ingest import secret as ingest_secret
from penstock.log import port
from penstock.log.kafka import connection
from penstock.machine import opening, secrets, sourcing
from penstock.machine.parts import outlook
from penstock.sinks import port as sinks_port
from penstock.v1 import control_pb2

UNREACHABLE, REJECTED, SECRET = "LOG_UNREACHABLE", "LOG_CREDENTIALS_REJECTED", "SECRET"
_LOOK_SECONDS = 5.0


def of(waits_for: Exception | None, watch: outlook.LogWatch | None) -> control_pb2.Trouble | None:
    """`waits_for`: what the start is tried again after. None where nothing is the matter, or nothing that has a name."""
    if watch and watch.away:
        return control_pb2.Trouble(code=REJECTED if watch.refused else UNREACHABLE, message=watch.refused or watch.away)
    if isinstance(waits_for, ingest_secret.SecretError):
        return control_pb2.Trouble(code=SECRET, message=str(waits_for))
    if isinstance(waits_for, sinks_port.SinkError):
        failure = waits_for.failure
        return control_pb2.Trouble(code=failure.code, message=failure.message, remedy=failure.remedy)
    if isinstance(waits_for, port.LogUnavailableError):
        rejected = connection.REJECTED in str(waits_for)
        return control_pb2.Trouble(code=REJECTED if rejected else UNREACHABLE, message=str(waits_for))
    return None


async def refusal(pipeline: api_pipeline.BatchPipeline, secret_store: secrets.SecretStore) -> str:
    """Why brokers that are there refuse the credentials that the secrets hold now; empty where none is there, or none does."""
    own = pipeline.spec.log.kafka if pipeline.spec.log else None
    for cluster in (own, sourcing.kafka_source(pipeline)):
        if cluster is None:
            continue
        try:
            security = opening.security(cluster, secret_store)
        except (sinks_port.SinkError, ingest_secret.SecretError) as error:
            return str(error)
        why = await connection.refusal(",".join(cluster.bootstrap_servers), security, _LOOK_SECONDS)
        if connection.REJECTED in why:
            return why
    return ""
