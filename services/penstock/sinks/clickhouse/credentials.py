"""Who we are to the server, and how we know that it is the server: from mounted secrets, read anew for each request."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import ssl
import tempfile
from collections.abc import Callable, Mapping, Sequence

from penstock.sinks import tables


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What reads the PEM texts, each as it is now; None where nothing was asked for. Each may raise SinkError."""

    authority: Callable[[], str] | None = None
    certificate: Callable[[], str] | None = None
    key: Callable[[], str] | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """For one request: its headers, the values among them that no message may hold, and how TLS is spoken."""

    headers: Mapping[str, str]
    secrets: Sequence[str]
    tls: ssl.SSLContext | bool


class Credentials:
    """`user` and `password` read what they are at this moment; both None for a server that asks for none."""

    def __init__(
        self, *, user: Callable[[], str] | None = None, password: Callable[[], str] | None = None, tls: Tls | None = None
    ) -> None:
        self._user, self._password, self._tls = user, password, tls or Tls()
        self._made: tuple[tuple[str, str, str], ssl.SSLContext] | None = None

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
        read = (self._tls.authority, self._tls.certificate, self._tls.key)
        if not any(read):
            return True
        authority, certificate, key = texts = tuple(one() if one else "" for one in read)
        if self._made is None or self._made[0] != texts:
            self._made = ((authority, certificate, key), _context(authority, certificate, key))
        return self._made[1]


def _context(authority: str, certificate: str, key: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=authority or None)
        if certificate:
            _load(context, certificate, key)
    except (ssl.SSLError, ValueError, OSError) as error:
        raise tables.misconfigured(
            "CERTIFICATE", f"clickHouse.tls: a PEM text can't be used: {error}", "put PEM certificates and keys into the secret"
        ) from error
    return context


def _load(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """The library reads files only: one that nobody else may read, for as long as that takes."""
    number, path = tempfile.mkstemp(prefix="penstock-")
    try:
        with os.fdopen(number, "w") as file:
            file.write(f"{certificate}\n{key}\n")
        context.load_cert_chain(path)
    finally:
        pathlib.Path(path).unlink()


def _printable(value: str) -> str:
    if not value.isprintable():
        raise tables.misconfigured(
            "SECRET", "user or password has a line break or another control character in it", "take it out of the secret"
        )
    return value
