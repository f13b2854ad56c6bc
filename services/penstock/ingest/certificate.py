"""The certificate both doors show, and whose certificates they ask for.

New files are tried in full before they are used: the key must fit, and a client that trusts nothing but this certificate
must complete a handshake now, which one that has expired or is not valid yet does not survive. What fails leaves the old
certificate in place. Connections that stand keep the certificate they began with.
"""

from __future__ import annotations

import dataclasses
import pathlib
import ssl
import tempfile
from collections.abc import Mapping

import grpc
import structlog

from penstock.ingest import secret as secrets

CERTIFICATE = "tls.crt"
KEY = "tls.key"
AUTHORITY = "ca.crt"
_REMEDY = "the old one stays in use until the files are right"
_logger = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """PEM texts; `authority` is empty where no client certificate is asked for."""

    certificate: bytes
    key: bytes = dataclasses.field(repr=False)
    authority: bytes


class Certificate:
    """One secret's certificate, followed through its changes. `load` before anything else; safe to `reload` on a thread."""

    def __init__(self, secret: secrets.Secret) -> None:
        self._secret = secret

    def load(self) -> None:
        """Read and try the files. Raises SecretError."""
        self._files = _files(self._secret.name, self._secret.read())
        self._current = _checked(self._secret.name, self._files)
        self._front = _server_context(self._files)
        self._front.sni_callback = self._choose

    def reload(self) -> None:
        """Read them again and use them if they are right; also whether clients must show a certificate can't change."""
        try:
            files = _files(self._secret.name, self._secret.read())
            if files == self._files:
                return
            if bool(files.authority) != bool(self._files.authority):
                raise secrets.SecretError(f"{AUTHORITY} came or went: restart to change whether clients must show a certificate")
            current = _checked(self._secret.name, files)
        except secrets.SecretError as error:
            _logger.error("certificate_not_reloaded", secret=self._secret.name, error=str(error), remedy=_REMEDY)
            return
        self._files, self._current = files, current
        _logger.info("certificate_reloaded", secret=self._secret.name)

    @property
    def context(self) -> ssl.SSLContext:
        """For a server of the standard library; each handshake finds the newest certificate."""
        return self._front

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """For a gRPC server; each handshake finds the newest certificate."""
        return grpc.dynamic_ssl_server_credentials(
            _grpc_configuration(self._files),
            lambda: _grpc_configuration(self._files),
            require_client_authentication=bool(self._files.authority),
        )

    def _choose(self, handshake: ssl.SSLObject, _server_name: str | None, _context: ssl.SSLContext) -> None:
        handshake.context = self._current


def _files(name: str, values: Mapping[str, bytes]) -> _Files:
    missing = [key for key in (CERTIFICATE, KEY) if not values.get(key)]
    if missing:
        found = ", ".join(sorted(values)) or "nothing"
        raise secrets.SecretError(f'secret "{name}" lacks {" and ".join(missing)}; it has {found}')
    return _Files(certificate=values[CERTIFICATE], key=values[KEY], authority=values.get(AUTHORITY, b""))


def _grpc_configuration(files: _Files) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(files.key, files.certificate)], files.authority or None)


def _checked(name: str, files: _Files) -> ssl.SSLContext:
    """The server's context, after a rehearsal with a client that trusts this certificate only."""
    try:
        context = _server_context(files)
        rehearsed = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _load_chain(rehearsed, files)
        _rehearse(rehearsed, files.certificate.decode("ascii"))
    except ssl.SSLCertVerificationError as error:
        raise secrets.SecretError(f'secret "{name}", {CERTIFICATE}: {error.verify_message}') from error
    except ssl.SSLError as error:
        reason = error.reason or str(error)
        raise secrets.SecretError(f'secret "{name}": no certificate and key that belong together ({reason})') from error
    except UnicodeDecodeError as error:
        raise secrets.SecretError(f'secret "{name}": not PEM text') from error
    return context


def _server_context(files: _Files) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_chain(context, files)
    if files.authority:
        context.load_verify_locations(cadata=files.authority.decode("ascii"))
        context.verify_mode = ssl.CERT_REQUIRED
        # A resumed session would not show its certificate again, and outlive its authority.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    return context


def _load_chain(context: ssl.SSLContext, files: _Files) -> None:
    # The ssl module reads chains from files only; the directory is its owner's and gone at once.
    with tempfile.TemporaryDirectory(prefix="penstock-") as directory:
        chain, key = pathlib.Path(directory, "chain"), pathlib.Path(directory, "key")
        chain.write_bytes(files.certificate)
        key.write_bytes(files.key)
        context.load_cert_chain(chain, key, password=_no_password)


def _no_password() -> str:
    # Without this OpenSSL would ask on the terminal, and wait.
    raise ssl.SSLError("the key is encrypted; store it without a passphrase")


def _rehearse(server_context: ssl.SSLContext, certificate: str) -> None:
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client_context.load_verify_locations(cadata=certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    done: set[ssl.SSLObject] = set()
    while len(done) < 2:
        for side in (client, server):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass
