"""The doors: ingest over the pipeline's log, with the secrets that lock them."""

from __future__ import annotations

import dataclasses

from penstock.api.model import pipeline as api_pipeline
from penstock.core import failpoints
from penstock.ingest import service as ingest_service
from penstock.log import port
from penstock.machine import lanes, secrets
from penstock.v1 import control_pb2


class Doors:
    """`start`, then `drain` or not, then `close`."""

    def __init__(
        self,
        pipeline: api_pipeline.BatchPipeline,
        log: port.EventLog,
        secret_store: secrets.SecretStore,
        failpoint: failpoints.Failpoint,
        *,
        grpc_address: str,
        http_address: str,
    ) -> None:
        self._pipeline, self._secrets = pipeline, secret_store
        self.refuses = False
        """Whether new events are refused."""
        told = lanes.ingest_for(pipeline, grpc_address=grpc_address, http_address=http_address)
        self._service = ingest_service.IngestService(
            dataclasses.replace(told, failpoint=failpoint),
            log,
            tokens=self._secret("auth"),
            certificate=self._secret("tls"),
        )

    def _secret(self, member: str) -> secrets.Secret | None:
        """The secret that `auth` or `tls` of the doors names, if it is asked for."""
        told = getattr(self._pipeline.spec.source.ingest, member, None)
        if told is None or getattr(told, "type", "") == "None":
            return None
        return self._secrets.named(told.secret_ref.name)

    async def start(self) -> None:
        """Raises SecretError, OSError."""
        await self._service.start()

    @property
    def grpc_address(self) -> str:
        return str(self._service.ports.grpc)

    @property
    def http_address(self) -> str:
        return str(self._service.ports.http)

    def status(self) -> control_pb2.IngestStatus:
        """What was taken and what was not, since the start."""
        taken = self._service.stats()
        return control_pb2.IngestStatus(
            accepted=taken.accepted,
            rejected=taken.rejected,
            refused_requests=taken.refused_requests,
            blocks=taken.blocks,
            bytes_in_flight=taken.bytes_in_flight,
        )

    async def drain(self) -> None:
        """Take no more events, and answer all that were received."""
        self.refuses = True
        await self._service.drain()

    async def set_lifecycle(self, lifecycle: str) -> None:
        """Draining: take no more events. Raises ValueError when they were told so before, and are to take events again."""
        if lifecycle == "Draining":
            await self.drain()
        elif self.refuses:
            raise ValueError("the doors have ended their streams and take no more events: restart the process to open them")

    async def close(self) -> None:
        await self._service.close()
