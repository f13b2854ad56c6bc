"""Which settings of a sink a running lane takes at once: how it batches, when it tries again, when its circuit opens.

The rest is read at the start. `limits.concurrency` is no part of it: the sink's server opens as many connections, and says so to
the lane when that begins.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from penstock.api.model import sinks

MEMBERS: Final = ("batching", "circuitBreaker", "hedging", "retry")
_DIGEST_CHARACTERS: Final = 8


def text(sink: sinks.Sink) -> str:
    """What a lane is told of its sink: what differs from the defaults, as JSON of members of `spec.sinks[]`."""
    limits = sink.batching.limits.model_copy(update={"concurrency": None})
    plain = sink.model_copy(update={"batching": sink.batching.model_copy(update={"limits": limits})})
    told = plain.model_dump(by_alias=True, mode="json", exclude_defaults=True)
    found: dict[str, Any] = {name: told[name] for name in MEMBERS if name in told}
    return json.dumps(found, sort_keys=True, separators=(",", ":"))


def version(sink: sinks.Sink) -> str:
    """Short name of that, the same for the same meaning."""
    return hashlib.sha256(text(sink).encode()).hexdigest()[:_DIGEST_CHARACTERS]


def changed(sink: sinks.Sink, told: str) -> sinks.Sink:
    """The sink with what `text` made of another one. Raises ValueError for what is none of that."""
    new: Any = json.loads(told)
    if not isinstance(new, dict) or set(new) - set(MEMBERS):
        raise ValueError(f"settings may have the members {', '.join(MEMBERS)}")
    before = sink.model_dump(by_alias=True, mode="json", exclude_unset=True)
    made = {**_without_members(before), **new}
    if (most := _concurrency(before)) is not None:
        batching = made.get("batching", {})
        made["batching"] = {**batching, "limits": {**batching.get("limits", {}), "concurrency": most}}
    return sinks.Sink.model_validate(made)


def fixed(sink: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of a sink, as plain data: another one of it needs a new process."""
    kept, most = _without_members(sink), _concurrency(sink)
    return {**kept, "batching": {"limits": {"concurrency": most}}} if most is not None else kept


def _without_members(sink: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in sink.items() if name not in MEMBERS}


def _concurrency(sink: Mapping[str, Any]) -> int | None:
    found: int | None = ((sink.get("batching") or {}).get("limits") or {}).get("concurrency")
    return found
