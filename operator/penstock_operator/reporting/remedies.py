"""Which Secrets hold what a store or the brokers refuse, by name and key: what a person looks at first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from penstock.api.model import base

_KEYS: Final = {"Basic": "username, password", "Tls": "tls.crt, tls.key"}


def secrets(*parts: base.Model | None) -> str:
    """Such as `Secret ch (username, password)`; empty where these parts of an object name none."""
    found = [one for part in parts if part is not None for one in _named(part.model_dump(by_alias=True))]
    return ", ".join(dict.fromkeys(found))


def _named(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        own = str(part.get("type") or "Tls")
        for key, value in part.items():
            if isinstance(value, Mapping) and key.lower().endswith(("secretref", "secretkeyref")):
                yield f"Secret {value['name']} ({value.get('key') or _KEYS.get(own, 'its keys')})"
            else:
                yield from _named(value)
    elif isinstance(part, list | tuple):
        for item in part:
            yield from _named(item)
