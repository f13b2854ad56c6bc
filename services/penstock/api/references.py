"""Which Secrets an object names, wherever in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from penstock.api.model import base


def secrets(part: base.Model) -> set[str]:
    """The names of all Secrets that this part of an object refers to."""
    return set(_named(part.model_dump(by_alias=True)))


def _named(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        for key, value in part.items():
            if isinstance(key, str) and key.lower().endswith(("secretref", "secretkeyref")) and isinstance(value, Mapping):
                yield value["name"]
            else:
                yield from _named(value)
    elif isinstance(part, list | tuple):
        for item in part:
            yield from _named(item)
