"""Who may send: bearer tokens, one or more clients each with its own.

A token shown is compared with every valid one, each time in constant time and over digests of one length, so that the time
an answer takes says nothing about the tokens. Neither tokens nor their digests are ever logged.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

import structlog

from penstock.ingest import secret as secrets

_SCHEME = "bearer"
_logger = structlog.get_logger(__name__)


class TokenGuard:
    """Holds the digests of one secret's tokens. `load` before anything else."""

    def __init__(self, secret: secrets.Secret) -> None:
        self._secret = secret
        self._digests: Mapping[str, bytes] = {}

    def load(self) -> None:
        """Read the tokens. Raises SecretError when there is none, or one can't be one."""
        digests = _digests(self._secret.name, self._secret.read())
        if not digests:
            raise secrets.SecretError(f'secret "{self._secret.name}" has no keys: add one, a client\'s name with its token')
        self._digests = digests

    def reload(self) -> None:
        """Read them again. A secret that can't be read leaves the old tokens valid; one without keys leaves none valid."""
        try:
            digests = _digests(self._secret.name, self._secret.read())
        except secrets.SecretError as error:
            _logger.error("tokens_not_reloaded", secret=self._secret.name, error=str(error))
            return
        if not digests:
            _logger.error("no_tokens_left", secret=self._secret.name)
        if digests != self._digests:
            _logger.info("tokens_reloaded", secret=self._secret.name, clients=len(digests))
        self._digests = digests

    def client(self, authorization: str) -> str | None:
        """The client whose token stands in the value of an Authorization header; None when it is nobody's."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != _SCHEME:
            return None
        shown = _digest(token.strip().encode("utf-8", "surrogateescape"))
        found = None
        for client, digest in self._digests.items():
            if hmac.compare_digest(shown, digest):
                found = client
        return found


def _digests(name: str, values: Mapping[str, bytes]) -> dict[str, bytes]:
    tokens = {client: value.strip() for client, value in values.items()}
    for client, token in tokens.items():
        if not token or not token.isascii() or any(byte <= 0x20 or byte == 0x7F for byte in token):
            what = "is empty" if not token else "holds what no header can: spaces, control characters or non-ASCII text"
            raise secrets.SecretError(f'secret "{name}", key "{client}": the token {what}')
    return {client: _digest(token) for client, token in tokens.items()}


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
