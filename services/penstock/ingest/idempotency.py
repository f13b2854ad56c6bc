"""What this process remembers of requests that carry an idempotency key.

A key means (key, index in the request): a repeat with the same payload gets the outcome of the first and nothing is appended.
Remembered are answered requests and those under way, for 600 s, in this process, and as many as fit the bound. A request that
was refused as a whole, or whose outcome stayed unknown, is not: its repeat is taken anew.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import hashlib

from penstock.ingest import submission as submissions

_WINDOW_SECONDS = 600.0
_MOST_BYTES = 32 * 1024 * 1024
_ENTRY_BYTES = 1_024
_REJECTION_BYTES = 1_024
_LONGEST_KEY = 255
_INLINE_BYTES = 256 * 1024
_OTHER_PAYLOAD = "this idempotency key came with other events before: use a new key for every new request"

_Answer = asyncio.Future[submissions.Outcome]


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """Whose key it is, and which request under it; `sequence` numbers the requests of a stream."""

    client: str
    text: str
    sequence: int = 0


@dataclasses.dataclass(slots=True)
class _Entry:
    digest: bytes
    answer: _Answer
    began: float
    size_bytes: int = _ENTRY_BYTES


def problem(text: str) -> str:
    """Why a text can't be a key; empty when it can."""
    if 0 < len(text) <= _LONGEST_KEY and all(" " < character <= "~" for character in text):
        return ""
    return f"an idempotency key is 1 to {_LONGEST_KEY} visible ASCII characters"


async def digest(encoding: submissions.Encoding, payload: submissions.Payload) -> bytes:
    """Names the payload, so that a key used for something else is noticed."""
    parts = [payload] if isinstance(payload, bytes) else list(payload)
    if sum(map(len, parts)) <= _INLINE_BYTES:
        return _digest(encoding, parts)
    return await asyncio.to_thread(_digest, encoding, parts)


def _digest(encoding: submissions.Encoding, parts: list[bytes]) -> bytes:
    hashed = hashlib.blake2b(encoding.value.encode(), digest_size=16)
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big"))
        hashed.update(part)
    return hashed.digest()


class Remembered:
    """Used from one event loop; times are the loop's. The oldest are forgotten first."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._entries: collections.OrderedDict[Key, _Entry] = collections.OrderedDict()
        self._bytes = 0

    def find(self, key: Key, payload_digest: bytes, now: float) -> _Answer | submissions.Outcome | None:
        """The first request's answer, a refusal if it was another request, or None for a new key."""
        while self._entries and next(iter(self._entries.values())).began + _WINDOW_SECONDS <= now:
            self._forget(next(iter(self._entries)))
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.digest != payload_digest:
            return submissions.refused(submissions.RefusalReason.KEY_REUSED, _OTHER_PAYLOAD)
        return entry.answer

    def put(self, key: Key, payload_digest: bytes, answer: _Answer, now: float) -> None:
        """A new key's request, which is under way."""
        entry = _Entry(payload_digest, answer, now)
        self._entries[key] = entry
        self._bytes += entry.size_bytes
        answer.add_done_callback(lambda done: self._answered(key, entry, done.result()))
        self._shrink()

    def _answered(self, key: Key, entry: _Entry, outcome: submissions.Outcome) -> None:
        if self._entries.get(key) is not entry:
            return
        if outcome.refusal is not None:
            self._forget(key)
            return
        more = len(outcome.rejected) * _REJECTION_BYTES
        entry.size_bytes += more
        self._bytes += more
        self._shrink()

    def _shrink(self) -> None:
        while self._bytes > self._most_bytes:
            self._forget(next(iter(self._entries)))

    def _forget(self, key: Key) -> None:
        self._bytes -= self._entries.pop(key).size_bytes
