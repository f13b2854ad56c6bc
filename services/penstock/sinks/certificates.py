"""Certificates from mounted secrets as what Python's TLS takes, read anew whenever a connection is made."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import ssl
import tempfile
from collections.abc import Callable

from penstock.sinks import tables


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """PEM texts. Without an authority the system's are trusted; without a certificate none is shown."""

    authority: str | None
    certificate: str
    key: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What reads the PEM texts, each as it is now; None where nothing was asked for. Each may raise SinkError.

    `place` names the setting in messages, such as "kafka.tls".
    """

    place: str
    authority: Callable[[], str] | None = None
    certificate: Callable[[], str] | None = None
    key: Callable[[], str] | None = None

    def texts(self) -> Texts:
        """What the secrets say now."""
        certificate, key = (self.certificate(), self.key()) if self.certificate and self.key else ("", "")
        return Texts(authority=self.authority() if self.authority else None, certificate=certificate, key=key)

    def context(self, texts: Texts | None = None) -> ssl.SSLContext:
        """Of these texts, or of what the secrets say now. Raises SinkError (config) for a text that is no certificate."""
        read = texts or self.texts()
        try:
            context = ssl.create_default_context(cadata=read.authority)
            if read.certificate:
                _load(context, read.certificate, read.key)
        except (ssl.SSLError, ValueError, OSError) as error:
            raise tables.misconfigured(
                "CERTIFICATE", f"{self.place}: a PEM text can't be used: {error}", "put PEM certificates and keys into the secret"
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
