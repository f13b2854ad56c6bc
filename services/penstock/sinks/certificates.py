"""Client TLS as sinks want it: certificates are read anew whenever a connection is made, and a wrong one is configuration."""

from __future__ import annotations

import dataclasses
import ssl

from penstock.sinks import tables
from penstock.tls import client


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tls(client.Tls):
    """Its readers may raise SinkError."""

    def context(self, texts: client.Texts | None = None) -> ssl.SSLContext:
        """Of these texts, or of what the secrets say now. Raises SinkError (config) for a text that is no certificate."""
        try:
            return client.Tls.context(self, texts)
        except client.CertificateError as error:
            raise tables.misconfigured("CERTIFICATE", str(error), "put PEM certificates and keys into the secret") from error
