"""One server: how a connection to it is opened, with the secrets as they are at that moment, and what its failures mean."""

from __future__ import annotations

import dataclasses
import os
import ssl
from collections.abc import Callable

import asyncpg

from penstock.sinks import certificates, tables
from penstock.sinks import port as sinks_port
from penstock.sinks.postgres import codes

_CONNECT_SECONDS = 10.0
_LOCK_SHARE = 0.5
_STATEMENT_SHARE = 0.8
_KEEPALIVE_SECONDS = 10
_NOBODY = "penstock"

Secret = Callable[[], str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where the database is and who asks. Without `user` the user is "penstock", without a password."""

    host: str
    port: int
    database: str
    user: Secret | None = None
    password: Secret | None = None
    tls: certificates.Tls | None = None

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.host}:{self.port}/{self.database}"

    async def connect(self, write_seconds: float) -> asyncpg.Connection:
        """A new connection on which no statement takes longer than a write may. Raises SinkError."""
        user, password = self.user() if self.user else _NOBODY, self.password() if self.password else ""
        context = self.tls.context() if self.tls else False
        try:
            return await asyncpg.connect(
                host=self.host,
                port=self.port,
                database=self.database,
                user=user,
                password=password,
                # Else the client looks for passwords and certificates below the home directory.
                passfile=os.devnull,
                ssl=context,
                target_session_attrs="any",
                timeout=_CONNECT_SECONDS,
                server_settings=_session_settings(write_seconds),
            )
        except Exception as error:
            raise self.failure(error) from error

    def failure(self, error: Exception) -> sinks_port.SinkError:
        """What is raised instead of an error of the client, the network or the server. Raises what is none of these."""
        if isinstance(error, sinks_port.SinkError):
            return error
        if isinstance(error, asyncpg.InterfaceError) and isinstance(error.__context__, asyncpg.PostgresError):
            # The client fails to roll back what the server has ended; why it has is the news.
            error = error.__context__
        if isinstance(error, asyncpg.PostgresError):
            return codes.sink_error(self.place, error)
        if isinstance(error, ssl.SSLError):
            return tables.unavailable("TLS", f"{self.place}: {error}", "check postgres.tls and the server's certificate")
        if isinstance(error, TimeoutError):
            return tables.unavailable("TIMEOUT", f"{self.place} gave no answer in time")
        if isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError):
            return tables.unavailable("UNREACHABLE", f"{self.place}: {error or type(error).__name__}")
        raise error


def _session_settings(write_seconds: float) -> dict[str, str]:
    return {
        "application_name": "penstock",
        "timezone": "UTC",
        "statement_timeout": _milliseconds(write_seconds * _STATEMENT_SHARE),
        "lock_timeout": _milliseconds(write_seconds * _LOCK_SHARE),
        # A process that was suspended in a transaction holds the row of its partition: the server ends it.
        "idle_in_transaction_session_timeout": _milliseconds(write_seconds),
        "tcp_keepalives_idle": str(_KEEPALIVE_SECONDS),
        "tcp_keepalives_interval": str(_KEEPALIVE_SECONDS),
        "tcp_keepalives_count": "3",
    }


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))
