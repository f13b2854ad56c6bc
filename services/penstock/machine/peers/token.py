"""The pipeline's token: a file of one or more lines, of which a server takes each and a client shows the first.

So a token is changed without a refused call: the new one is added as the second line everywhere, and once it is everywhere the
lines are swapped.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import structlog

from penstock.ingest import secret as secrets

_MOST_BYTES = 64 * 1024

_log = structlog.get_logger()


class TokenFile:
    """A `secret.Secret` whose keys are the numbers of the lines."""

    def __init__(self, path: pathlib.Path) -> None:
        self.name = str(path)
        self._path = path
        self._first = ""

    def read(self) -> Mapping[str, bytes]:
        """Raises SecretError when the file can't be read, or holds no token."""
        try:
            with self._path.open("rb") as file:
                content = file.read(_MOST_BYTES)
        except OSError as error:
            raise secrets.SecretError(f"the token's file {self._path} can't be read: {error.strerror or error}") from error
        lines = [line.strip() for line in content.splitlines() if line.strip()]
        if not lines:
            raise secrets.SecretError(f"the token's file {self._path} is empty: put a line of random characters into it")
        return {f"line {number}": line for number, line in enumerate(lines, 1)}

    def load(self) -> None:
        """What a client shows from now on. Raises SecretError."""
        self._first = _text(self.read()["line 1"], self._path)

    def reload(self) -> None:
        """The same; a file that can't be used leaves the old token in use."""
        try:
            self.load()
        except secrets.SecretError as error:
            _log.error("token_not_reloaded", file=str(self._path), error=str(error))

    @property
    def shown(self) -> str:
        """What a client shows."""
        return self._first


def _text(line: bytes, path: pathlib.Path) -> str:
    if not line.isascii() or any(byte <= 0x20 or byte == 0x7F for byte in line):
        raise secrets.SecretError(f"{path}: line 1 holds what no header can: spaces, control characters or non-ASCII text")
    return line.decode("ascii")
