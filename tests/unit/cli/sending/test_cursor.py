"""A cursor file is always a whole cursor, of the source it is used for."""

from __future__ import annotations

import os
import pathlib

import pytest

from penstock.cli.sending import cursor

SAVED = cursor.Cursor(source="a", events=5, accepted=4, rejected=1)


def test_what_is_saved_is_loaded(tmp_path: pathlib.Path) -> None:
    """Catches a count that is not kept."""
    cursor.save(tmp_path / "new" / "cursor", SAVED)
    assert cursor.load(tmp_path / "new" / "cursor", "a") == SAVED


def test_no_file_is_the_start(tmp_path: pathlib.Path) -> None:
    """Catches a first run that fails."""
    assert cursor.load(tmp_path / "cursor", "a") == cursor.Cursor(source="a")


def test_a_write_that_is_cut_short_leaves_the_old_cursor(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a cursor written in place: kill -9 in between would leave half a file."""
    path = tmp_path / "cursor"
    cursor.save(path, SAVED)

    def killed(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        cursor.save(path, cursor.Cursor(source="a", events=9))
    assert cursor.load(path, "a") == SAVED


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"events":"x"}'], ids=repr)
def test_what_is_no_cursor_is_said_to_be_none(content: bytes, tmp_path: pathlib.Path) -> None:
    """Catches a damaged cursor that is taken for the start: everything would be sent again, unasked."""
    (tmp_path / "cursor").write_bytes(content)
    with pytest.raises(cursor.CursorError, match="is no cursor"):
        cursor.load(tmp_path / "cursor", "a")
