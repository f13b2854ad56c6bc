"""What children are called. The names are promised (docs/operator.md): autoscalers and people refer to them.

A pipeline's name and a sink's are joined by two dashes, so that `a` with `b-c` and `a-b` with `c` differ. Where that would not
be unique (two dashes in one of them) or too long for what is made from it, a digest of both takes the place of their end.
"""

from __future__ import annotations

import hashlib
from typing import Final

MOST_CHARACTERS: Final = 46
"""A pod adds 17 to the name of its Deployment, and its host name has room for 63."""
_DIGEST_CHARACTERS: Final = 8


def ingest(pipeline: str) -> str:
    """Deployment of the doors, and the Service in front of them."""
    return _joined((pipeline,), "-ingest")


def ingest_pods(pipeline: str) -> str:
    """Headless Service of the doors, for clients that balance by themselves."""
    return _joined((pipeline,), "-ingest-pods")


def batcher(pipeline: str, sink: str) -> str:
    """Deployment of a lane."""
    return _joined((pipeline, sink), "-batcher")


def sink(pipeline: str, sink_name: str) -> str:
    """Deployment of a sink, and the headless Service that batchers find it by."""
    return _joined((pipeline, sink_name), "-sink")


def accepted(pipeline: str) -> str:
    """ConfigMap with the last object that was accepted."""
    return _joined((pipeline,), "-accepted")


def token(pipeline: str) -> str:
    """Secret by which the pods of one pipeline know each other."""
    return _joined((pipeline,), "-token")


def file(pipeline: str, role: str, digest: str) -> str:
    """ConfigMap with the pipeline file as one role is given it. The contents are part of the name: they never change."""
    return _joined((pipeline,), f"-{role}-{digest}")


def replay(replay_name: str, what: str) -> str:
    """What is made for a DeadLetterReplay: its Job by the action, its ConfigMap and its NetworkPolicy by `file` and `pods`."""
    return _joined((replay_name,), f"-{what}")


def metrics(pipeline: str) -> str:
    """PodMonitor of all pods."""
    return _joined((pipeline,), "-metrics")


def volume(secret: str) -> str:
    """Volume of a Secret, whose own name may be longer and hold dots."""
    return f"secret-{_digest(secret)}"


def label(value: str) -> str:
    """A value that a label can hold."""
    return value if len(value) <= 63 else f"{value[:54].rstrip('-.')}-{_digest(value)}"


def _joined(parts: tuple[str, ...], suffix: str) -> str:
    name = "--".join(parts) + suffix
    if len(name) <= MOST_CHARACTERS and not any("--" in part or "." in part for part in parts):
        return name
    room = MOST_CHARACTERS - len(suffix) - _DIGEST_CHARACTERS - 1
    start = "--".join(parts).replace(".", "-")[:room].rstrip("-")
    return f"{start}-{_digest('/'.join(parts))}{suffix}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARACTERS]
