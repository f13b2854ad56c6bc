"""What `penstock dlq analyse` prints: a paragraph per cause for people, a JSON object per line for scripts."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import msgspec
import rich.text

from penstock.cli.showing import dlq_text
from penstock.core import deadletters, selection
from penstock.replay import causes

_EXCERPT_CHARACTERS = 200


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """`causes` are the first of `of`, their examples with originals; `counts` are of all letters that match, by category."""

    causes: Sequence[causes.Cause]
    of: int
    counts: collections.Counter[str]
    unreadable: int


def print_causes(analysis: Analysis) -> None:
    out = dlq_text.console()
    for cause in analysis.causes:
        out.print(rich.text.Text("\n".join(_paragraph(cause)), overflow="fold"))
    out.print(rich.text.Text(closing(analysis)))
    if analysis.causes:
        first = selection.fingerprint_id(analysis.causes[0].example.letter.fingerprint)
        out.print(rich.text.Text(f"next: penstock dlq replay --fingerprint {first} --dry-run"))


def closing(analysis: Analysis) -> str:
    """The last line: how many letters of how many causes there are."""
    unreadable = f" · {analysis.unreadable:,} records not readable by this release" if analysis.unreadable else ""
    total = analysis.counts.total()
    if not total:
        return "no outstanding dead letter matches" + unreadable
    by_category = " · ".join(f"{category} {count:,}" for category, count in analysis.counts.most_common())
    plural = "cause" if analysis.of == 1 else "causes"
    shown = (
        f"{len(analysis.causes):,} of {analysis.of:,} {plural}"
        if len(analysis.causes) < analysis.of
        else f"{analysis.of:,} {plural}"
    )
    return f"{total:,} outstanding dead letter{'' if total == 1 else 's'}, {shown}: {by_category}{unreadable}"


def as_json_line(cause: causes.Cause) -> str:
    """One cause; `example` is the newest letter's event as text."""
    letter = cause.example.letter
    fields = {
        "count": cause.count,
        "fingerprint_id": selection.fingerprint_id(letter.fingerprint),
        "fingerprint": letter.fingerprint,
        "category": letter.category.value,
        "sink": letter.sink,
        "expression": letter.expression,
        "first_failed_at": dlq_text.time(cause.first_microseconds),
        "last_failed_at": dlq_text.time(cause.last_microseconds),
        "message": letter.message,
        "example_id": letter.id,
        "example": excerpt(letter),
    }
    return msgspec.json.encode(fields).decode()


def excerpt(letter: deadletters.DeadLetter) -> str:
    """The beginning of the event, on one line and without anything a terminal acts on."""
    text = dlq_text.safe(letter.original[: 4 * _EXCERPT_CHARACTERS].decode(errors="backslashreplace"))
    return text if len(text) <= _EXCERPT_CHARACTERS else text[:_EXCERPT_CHARACTERS] + "…"


def _paragraph(cause: causes.Cause) -> list[str]:
    letter = cause.example.letter
    first, last = (dlq_text.time(at)[:19].replace("T", " ") for at in (cause.first_microseconds, cause.last_microseconds))
    when = first if first == last else f"{first} to {last}"
    place = f" · {dlq_text.safe(letter.expression)}" if letter.expression else ""
    short = selection.fingerprint_id(letter.fingerprint)
    return [
        f"{cause.count:>7,}  {short}  {letter.category.value} · {letter.sink}{place}",
        f"         {dlq_text.safe(letter.message)}",
        f"         {when}, such as {letter.id[: dlq_text.SHOWN_ID_CHARACTERS]}: {excerpt(letter)}",
        "",
    ]
