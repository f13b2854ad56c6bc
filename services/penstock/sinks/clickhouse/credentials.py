"""Who we are to the server, and how we know that it is the server: from mounted secrets, read anew for each request."""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import Callable, Mapping, Sequence

from penstock.sinks import certificates, tables
from penstock.tls import client as tls_client


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """For one request: its headers, the values among them that no message may hold, and how TLS is spoken."""

    headers: Mapping[str, str]
    secrets: Sequence[str]
    tls: ssl.SSLContext | bool


class Credentials:
    """`user` and `password` read what they are at this moment; both None for a server that asks for none."""

    def __init__(
        self,
        *,
        user: Callable[[], str] | None = None,
        password: Callable[[], str] | None = None,
        tls: certificates.Tls | None = None,
    ) -> None:
        self._user, self._password, self._tls = user, password, tls
        self._made: tuple[tls_client.Texts, ssl.SSLContext] | None = None

    def read(self) -> Prepared:
        """Raises SinkError (config) for a secret that is missing or is no certificate."""
        headers: dict[str, str] = {}
        secrets: list[str] = []
        if self._user and self._password:
            secrets = [self._password()]
            # Not the header `Authorization`: a proxy on the way may take that for its own.
            headers = {"X-ClickHouse-User": _printable(self._user()), "X-ClickHouse-Key": _printable(secrets[0])}
        return Prepared(headers=headers, secrets=secrets, tls=self._context())

    def _context(self) -> ssl.SSLContext | bool:
        if self._tls is None:
            return True
        texts = self._tls.texts()
        if self._made is None or self._made[0] != texts:
            self._made = texts, self._tls.context(texts)
        return self._made[1]


def _printable(value: str) -> str:
    if not value.isprintable():
        raise tables.misconfigured(
            "SECRET", "user or password has a line break or another control character in it", "take it out of the secret"
        )
    return value
