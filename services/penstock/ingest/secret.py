"""What the doors ask of whatever keeps secrets: files on one machine, mounted Secrets in a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class SecretError(Exception):
    """The secret is missing, lacks a key or can't be used; the message says which places were looked at."""


class Secret(Protocol):
    """One named secret, read anew each time, so that what changed is seen."""

    name: str

    def read(self) -> Mapping[str, bytes]:
        """Every key with its value. Raises SecretError when there is no such secret, or it can't be read."""
