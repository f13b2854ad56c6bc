"""How far a sender has got, kept so that kill -9 at any point leaves either the old position or the new one."""

from __future__ import annotations

import dataclasses
import os
import pathlib

import msgspec


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """The leading events of a source that are answered for good: `events = accepted + rejected`.

    `source` names what was being sent, so that a cursor is never applied to something else.
    """

    source: str = ""
    events: int = 0
    accepted: int = 0
    rejected: int = 0


class CursorError(Exception):
    """A cursor file that can't be used: unreadable, or another source's."""


def load(path: pathlib.Path, source: str) -> Cursor:
    """The saved cursor, or one at the start where there is no file. Raises CursorError."""
    try:
        saved = msgspec.json.decode(path.read_bytes(), type=Cursor)
    except FileNotFoundError:
        return Cursor(source=source)
    except msgspec.MsgspecError as error:
        raise CursorError(f"{path} is no cursor: {error}") from error
    if saved.source != source:
        raise CursorError(f'{path} is the cursor of "{saved.source}", not of "{source}"')
    return saved


def save(path: pathlib.Path, cursor: Cursor) -> None:
    """Replace the file atomically; when this returns the new position survives a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(msgspec.json.encode(cursor))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
