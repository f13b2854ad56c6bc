"""The tokens by which the pods of a pipeline know each other and the operator.

Nobody reads them back, the operator least of all: each is made from the operator's own key and the pipeline's name, so the
operator knows every token it has made, also after a restart, and needs no right but to create Secrets.
"""

from __future__ import annotations

import hashlib
import hmac
import pathlib
from typing import Final

from penstock_operator import reconcile

_LEAST_CHARACTERS: Final = 32
_MOST_KEYS: Final = 4


class KeyFileError(ValueError):
    """The key's file can't be used; the message says why."""


class Tokens:
    """`keys` are lines of the key's file: tokens are made with the first, and the others were the first once."""

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        self._keys = keys

    def all(self, pipeline: reconcile.PipelineRef) -> list[str]:
        """Every token this pipeline may have; the first is the one that is given out now."""
        said = f"{pipeline.namespace}/{pipeline.name}".encode()
        return [hmac.new(key, said, hashlib.sha256).hexdigest() for key in self._keys]


def read(path: pathlib.Path) -> Tokens:
    """Raises KeyFileError."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror or error}") from error
    keys = tuple(line.strip() for line in lines if line.strip())
    if not keys or any(len(key) < _LEAST_CHARACTERS for key in keys):
        raise KeyFileError(f"{path}: write a line of at least {_LEAST_CHARACTERS} random characters into it")
    return Tokens(keys[:_MOST_KEYS])
