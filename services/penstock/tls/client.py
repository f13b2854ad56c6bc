"""Certificates from mounted secrets as what Python's TLS takes. Whoever speaks TLS as a client asks here: the log, sources,
registries, sinks; each says in its own words what a text that is no certificate means to it."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import ssl
import tempfile
from collections.abc import Callable


class CertificateError(Exception):
    """A text is no certificate, or no key that belongs to it; the message names the setting."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """PEM texts. Without an authority the system's are trusted; without a certificate none is shown."""

    authority: str | None
    certificate: str
    key: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What reads the PEM texts, each as it is now; None where nothing was asked for.

    `place` names the setting in messages, such as "kafka.tls".
    """

    place: str
    authority: Callable[[], str] | None = None
    certificate: Callable[[], str] | None = None
    key: Callable[[], str] | None = None

    def texts(self) -> Texts:
        """What the secrets say now. Raises what the readers raise."""
        certificate, key = (self.certificate(), self.key()) if self.certificate and self.key else ("", "")
        return Texts(authority=self.authority() if self.authority else None, certificate=certificate, key=key)

    def context(self, texts: Texts | None = None) -> ssl.SSLContext:
        """Of these texts, or of what the secrets say now. Raises CertificateError."""
        read = texts or self.texts()
        try:
            context = ssl.create_default_context(cadata=read.authority)
            if read.certificate:
                _load(context, read.certificate, read.key)
        except (ssl.SSLError, ValueError, OSError) as error:
            raise CertificateError(f"{self.place}: a PEM text can't be used: {error}") from error
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
