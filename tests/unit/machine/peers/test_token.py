"""The pipeline's token as a file that changes while processes run."""

from __future__ import annotations

import pathlib

import pytest

from penstock.ingest import secret, tokens
from penstock.machine.peers import token


def test_a_server_takes_each_line_and_a_client_shows_the_first(tmp_path: pathlib.Path) -> None:
    """Catches a rotation that refuses somebody: old and new must both be good for a while."""
    path = tmp_path / "token"
    path.write_text("old\n\nnew\r\n")
    file = token.TokenFile(path)
    file.load()
    guard = tokens.TokenGuard(file)
    guard.load()
    assert file.shown == "old"
    assert all(guard.client(f"Bearer {one}") for one in ("old", "new"))
    assert guard.client("Bearer ") is None
    path.write_text("new\n")
    file.reload()
    guard.reload()
    assert (file.shown, guard.client("Bearer old"), bool(guard.client("Bearer new"))) == ("new", None, True)


def test_a_file_that_goes_away_leaves_the_old_token_in_use(tmp_path: pathlib.Path) -> None:
    """Catches a mounted folder in the middle of its change, which would shut every process out."""
    path = tmp_path / "token"
    path.write_text("one\n")
    file = token.TokenFile(path)
    file.load()
    path.unlink()
    file.reload()
    assert file.shown == "one"


@pytest.mark.parametrize(
    ("content", "said"), [("", "is empty"), ("\n \n", "is empty"), ("a b\n", "no header"), ("tö\n", "no header")]
)
def test_what_is_no_token_is_said_so(tmp_path: pathlib.Path, content: str, said: str) -> None:
    """Catches an empty file that lets in whoever shows nothing."""
    path = tmp_path / "token"
    path.write_text(content)
    with pytest.raises(secret.SecretError, match=said):
        token.TokenFile(path).load()
    with pytest.raises(secret.SecretError, match="can't be read"):
        token.TokenFile(tmp_path / "nowhere").load()
