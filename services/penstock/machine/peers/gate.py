"""What lets in the processes of this pipeline and nobody else: sink and control servers beyond this machine.

Without a token and without certificates a server listens on this machine only, unless it is told that everybody may come in.
Health is for probes, and asks for nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import pathlib
from collections.abc import Sequence
from typing import Any

import grpc
import structlog

from penstock.ingest import certificate as certificates
from penstock.ingest import secret as secrets
from penstock.ingest import tokens
from penstock.machine import secrets as folders
from penstock.machine.peers import dialling, token

RELOAD_SECONDS = 10.0
_HEALTH = "/grpc.health.v1.Health/"

_log = structlog.get_logger()

_STRANGER = "the call shows no token of this pipeline (authorization: Bearer …)"


class OpenDoorError(Exception):
    """A server would let in everybody who can reach it; the message names the ways out."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where the token and the certificates lie; `insecure`: neither is needed, wherever a server listens."""

    token: pathlib.Path | None = None
    tls: pathlib.Path | None = None
    insecure: bool = False


class Peers:
    """Of one process. `load` first, when it has files; `reload` now and then."""

    def __init__(self, files: Files | None = None) -> None:
        self._files = files or Files()
        told = self._files
        self.token = token.TokenFile(told.token) if told.token else None
        self.pem: dialling.Pem | None = None
        self._guard = tokens.TokenGuard(self.token) if self.token else None
        self._certificate: certificates.Certificate | None = None

    def load(self) -> Peers:
        """Raises SecretError for a file that can't be used."""
        if self.token and self._guard:
            self._guard.load()
            self.token.load()
        if self._files.tls:
            self.pem = dialling.read(self._files.tls)
            if self.pem.certificate:
                self._certificate = certificates.Certificate(_folder(self._files.tls))
                self._certificate.load()
        return self

    async def reload(self) -> None:
        """What is wrong with the files is logged and changes nothing."""
        for kept in (self._guard, self.token, self._certificate):
            if kept is not None:
                await asyncio.to_thread(kept.reload)
        if self._files.tls:
            try:
                self.pem = await asyncio.to_thread(dialling.read, self._files.tls)
            except secrets.SecretError as error:
                _log.error("certificates_not_reloaded", folder=str(self._files.tls), error=str(error))

    def check(self, address: str, what: str) -> None:
        """Whether `what`, such as "the sink", may listen at `address`.

        Raises OpenDoorError when it would be open to everybody, SecretError when certificates are asked for and it has none.
        """
        if is_local(address):
            return
        if self._files.tls and self._certificate is None:
            raise secrets.SecretError(f"{self._files.tls}: {what} needs tls.crt and tls.key, to listen at {address}")
        if self.token or self._asks_for_certificates or self._files.insecure:
            return
        raise OpenDoorError(
            f"{what} would listen at {address} for everybody who can reach it: give the pipeline's processes a token"
            " (--token-file FILE, the same for all of them) or certificates (--tls-dir FOLDER with tls.crt, tls.key and ca.crt),"
            " listen on this machine only (127.0.0.1), or say --insecure"
        )

    @property
    def _asks_for_certificates(self) -> bool:
        return self._certificate is not None and self.pem is not None and self.pem.authority is not None

    def interceptors(self) -> Sequence[grpc.aio.ServerInterceptor]:
        """For a server that others reach."""
        return [_Gatekeeper(self._guard)] if self._guard else []

    def server_credentials(self) -> grpc.ServerCredentials | None:
        """None: plain text."""
        return self._certificate.grpc_credentials() if self._certificate else None

    def channel(self, address: str, options: dialling.Options) -> Any:
        """To another process: a `grpc.aio.Channel`, or what stands in its place. Sockets on this machine need nothing."""
        if address.startswith("unix:") or (self.token is None and self._files.tls is None):
            return grpc.aio.insecure_channel(address, options=options)
        return dialling.Channel(address, options, self)


def is_local(address: str) -> bool:
    """Whether only this machine's processes reach `address`, "host:port" or "unix:/path"."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _folder(path: pathlib.Path) -> folders.Secret:
    return folders.Secret(str(path), path, {})


class _Gatekeeper(grpc.aio.ServerInterceptor):
    """Ends the calls of strangers before a byte of their messages is read."""

    def __init__(self, guard: tokens.TokenGuard) -> None:
        self._guard = guard

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        """See grpc.aio.ServerInterceptor."""
        if str(details.method).startswith(_HEALTH) or self._is_known(details.invocation_metadata):
            return await continuation(details)
        # A handler of streams, whatever the method is: any other receives the message first.
        return grpc.stream_stream_rpc_method_handler(_refuse)

    def _is_known(self, metadata: Any) -> bool:
        shown = [value for name, value in metadata or () if name == "authorization"]
        return len(shown) == 1 and isinstance(shown[0], str) and self._guard.client(shown[0]) is not None


async def _refuse(_requests: object, context: Any) -> None:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, _STRANGER)
