"""What an endpoint's answer means: whose fault it is, when to come again, and what of it may be shown.

Pure. Everything here was written by somebody else: it is bounded before it is read, and no secret of ours is shown even if
the endpoint sends it back.
"""

from __future__ import annotations

import dataclasses
import datetime
import email.utils
import http
from collections.abc import Collection, Mapping

from penstock.core import results
from penstock.sinks import port, tables

QUOTED_CHARACTERS = 500
"""Of a body, in messages."""

# Longer advice is a mistake or an attack; the wire's milliseconds end at 49 days.
_LONGEST_WAIT_SECONDS = 86_400.0
_MOST_DIGITS = 9
# A word of a secret shorter than this is a scheme or a separator, and would blank out innocent text.
_SECRET_CHARACTERS = 4
_CREDENTIALS = frozenset({401, 403, 407})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """Which statuses mean that a row is wrong, and which that there are too many rows."""

    data: frozenset[int]
    split: frozenset[int]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The start of a response: `body` is what was read of it, `place` the endpoint as messages may name it."""

    place: str
    status: int
    headers: Mapping[str, str]
    body: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """These rows are not taken together. Of a single row it is the verdict."""

    code: str
    message: str


def refusal(answer: Answer, codes: Codes, now: datetime.datetime) -> Refusal | None:
    """None when the rows have landed. Raises SinkError (outage, config) when the answer says nothing about them."""
    if 200 <= answer.status < 300:
        return None
    if answer.status in codes.data | codes.split:
        return Refusal(code=f"HTTP_{answer.status}", message=_sentence(answer))
    if 300 <= answer.status < 400:
        raise _redirected(answer)
    raise _outage(answer, now)


def _redirected(answer: Answer) -> port.SinkError:
    # Whoever may answer there could otherwise choose any address inside our network for the rows to go to.
    return tables.misconfigured(
        "REDIRECTED", f"{_sentence(answer)}; redirects are not followed", "set http.url to the address the rows belong to"
    )


def _outage(answer: Answer, now: datetime.datetime) -> port.SinkError:
    rejected = answer.status in _CREDENTIALS
    return port.SinkError(
        results.Failure(
            result_class=results.ResultClass.OUTAGE,
            code="CREDENTIALS_REJECTED" if rejected else f"HTTP_{answer.status}",
            message=_sentence(answer),
            remedy="renew the secret that http.headers refers to; landing then goes on by itself" if rejected else "",
            retry_after_seconds=retry_after_seconds(answer.headers.get("Retry-After", ""), now),
        )
    )


def _sentence(answer: Answer) -> str:
    phrase = http.HTTPStatus(answer.status).phrase if answer.status in set(http.HTTPStatus) else ""
    said = f"{answer.place} answered {answer.status} {phrase}".rstrip()
    return f"{said}: {answer.body}" if answer.body else said


def retry_after_seconds(value: str, now: datetime.datetime) -> float:
    """The header `Retry-After` as seconds from `now`, at most a day; 0.0 where it is missing or makes no sense."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[: _MOST_DIGITS + 1]), _LONGEST_WAIT_SECONDS)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return min(max(0.0, (moment - now).total_seconds()), _LONGEST_WAIT_SECONDS)


def quoted(text: str, secrets: Collection[str]) -> str:
    """One line of at most `QUOTED_CHARACTERS`, without control characters, and without `secrets` or a word of them."""
    words = {word for secret in secrets for word in (secret, *secret.split()) if len(word) >= _SECRET_CHARACTERS}
    for word in sorted(words, key=len, reverse=True):
        text = text.replace(word, "***")
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return line if len(line) <= QUOTED_CHARACTERS else line[: QUOTED_CHARACTERS - 1] + "…"
