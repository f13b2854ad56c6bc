"""Dead letters as text: a table and a page for people, JSON for scripts.

Messages and originals come from outside, so nothing in them may reach the terminal as an escape sequence or as markup.
"""

from __future__ import annotations

import base64
import collections
import dataclasses
import datetime
import sys
from collections.abc import Sequence

import msgspec
import rich.console
import rich.table
import rich.text

from penstock.core import deadletters, dialects, selection
from penstock.replay import book

SHOWN_ID_CHARACTERS = 12
_PIPE_COLUMNS = 200
_TIMES = ("received_at", "append_time", "failed_at")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """`letters` are the newest of those that match, newest first and without originals; the counts are of all that match.

    `limit`: of letters, and of what is not readable, how many are shown.
    """

    letters: Sequence[book.Found]
    counts: collections.Counter[str]
    states: collections.Counter[str]
    unreadable: Sequence[str]
    limit: int
    filtered: bool


def print_listing(listing: Listing) -> None:
    out = console()
    if listing.letters:
        out.print(_table(listing.letters))
    out.print(rich.text.Text(closing(listing)))
    for line in unreadable(listing):
        out.print(rich.text.Text(line))
    if listing.letters:
        out.print(rich.text.Text(f"next: penstock dlq show {listing.letters[0].letter.id[:SHOWN_ID_CHARACTERS]}"))


def unreadable(listing: Listing) -> list[str]:
    """A line for each record that is no letter: its place and why. They stand where they are, whatever is done with letters."""
    shown = [f"not readable by this release: {safe(line)}" for line in listing.unreadable[: listing.limit]]
    more = len(listing.unreadable) - len(shown)
    return [*shown, f"and {more:,} more that are not readable (--limit shows more)"] if more else shown


def closing(listing: Listing) -> str:
    """The line under the table: how many there are of which category."""
    total = listing.counts.total()
    unreadable = f" · {len(listing.unreadable):,} not readable" if listing.unreadable else ""
    if not total:
        return ("no dead letters match" if listing.filtered else "no dead letters") + unreadable
    by_category = " · ".join(f"{category} {count:,}" for category, count in listing.counts.most_common())
    shown = f"{len(listing.letters):,} of {total:,}" if len(listing.letters) < total else f"{total:,}"
    return f"{shown} dead letter{'' if total == 1 else 's'}: {by_category}{unreadable}{_fates(listing.states)}"


def _fates(states: collections.Counter[str]) -> str:
    """What has become of them, unless nothing has."""
    if set(states) <= {selection.State.OUTSTANDING.value}:
        return ""
    return " (" + ", ".join(f"{count:,} {state.lower()}" for state, count in states.most_common()) + ")"


def print_letter(letter: deadletters.DeadLetter, state: selection.State) -> None:
    """Every field that holds something, then the original event."""
    out = console()
    grid = rich.table.Table.grid(padding=(0, 2))
    for name, value in _fields(letter, state).items():
        if value not in ("", (), [], None):
            grid.add_row(name.replace("_", " "), rich.text.Text(safe(_plain(value)), overflow="fold"))
    out.print(grid)
    out.print(rich.text.Text(f"\noriginal ({len(letter.original):,} bytes, {letter.original_format.value})"))
    out.print(rich.text.Text("\n".join(map(safe, _pretty(letter.original).splitlines())), overflow="fold"))


def as_json_line(letter: deadletters.DeadLetter, state: selection.State) -> str:
    """A listed letter: all but its original."""
    return msgspec.json.encode(_fields(letter, state)).decode()


def as_json(letter: deadletters.DeadLetter, state: selection.State) -> str:
    """A whole letter. `original` is the event where its bytes are JSON, else null; `original_base64` are its bytes always."""
    return msgspec.json.format(as_whole_line(letter, state), indent=2)


def as_whole_line(letter: deadletters.DeadLetter, state: selection.State) -> str:
    """The same on one line."""
    whole = {
        **_fields(letter, state),
        "original": _parsed(letter.original),
        "original_base64": base64.b64encode(letter.original).decode(),
    }
    return msgspec.json.format(msgspec.json.encode(whole), indent=-1).decode()


def as_record_line(letter: deadletters.DeadLetter, state: selection.State, *, dialect: dialects.Dialect) -> str:
    """A whole letter as a record of a dialect on one line; its state is no part of it."""
    value, headers = dialects.encode(letter, dialect)
    told = [{"name": name, "value_base64": base64.b64encode(header).decode()} for name, header in headers.items()]
    return msgspec.json.encode({"value_base64": base64.b64encode(value).decode(), "headers": told}).decode()


def safe(text: str) -> str:
    """On one line, with everything a terminal would act on written out."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def console() -> rich.console.Console:
    return rich.console.Console(markup=False, highlight=False, emoji=False, width=None if sys.stdout.isatty() else _PIPE_COLUMNS)


def _table(letters: Sequence[book.Found]) -> rich.table.Table:
    table = rich.table.Table(box=None, pad_edge=False, header_style="bold")
    for name in ("id", "time", "state", "category", "sink", "address", "expression"):
        table.add_column(name, no_wrap=True)
    table.add_column("message", overflow="fold", ratio=1)
    for found in letters:
        letter = found.letter
        cells = (
            letter.id[:SHOWN_ID_CHARACTERS],
            time(letter.failed_at_microseconds)[:19].replace("T", " "),
            found.state.value,
            letter.category.value,
            letter.sink,
            _place(letter),
            letter.expression,
            letter.message,
        )
        table.add_row(*(rich.text.Text(safe(cell)) for cell in cells))
    return table


def _place(letter: deadletters.DeadLetter) -> str:
    """Partition/offset/ordinal, and the items where rows failed and not the event."""
    items = f"/{','.join(map(str, letter.items))}" if letter.items else ""
    return f"{letter.partition}/{letter.offset}/{letter.ordinal}{items}"


def _fields(letter: deadletters.DeadLetter, state: selection.State) -> dict[str, object]:
    fields: dict[str, object] = msgspec.to_builtins(letter, builtin_types=(bytes,))
    del fields["original"]
    times = {name: fields.pop(f"{name}_microseconds") for name in _TIMES}
    fields |= {name: time(value) if isinstance(value, int) else "" for name, value in times.items()}
    return {**fields, "fingerprint_id": selection.fingerprint_id(letter.fingerprint), "state": state.value}


def time(microseconds: int) -> str:
    return (datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=microseconds)).isoformat(
        timespec="microseconds"
    ) + "Z"


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items() if inner not in ("", (), [], None))
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)


def _parsed(original: bytes) -> object:
    try:
        return msgspec.Raw(original) if msgspec.json.decode(original) is not None else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _pretty(original: bytes) -> str:
    if _parsed(original) is None:
        return original.decode(errors="backslashreplace")
    return msgspec.json.format(original, indent=2).decode()
