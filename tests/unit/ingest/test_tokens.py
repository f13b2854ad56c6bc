"""Bearer tokens."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import structlog.testing

from penstock.ingest import secret, tokens


class _Secret:
    name = "tokens"

    def __init__(self, **values: bytes) -> None:
        self.values: Mapping[str, bytes] | None = values

    def read(self) -> Mapping[str, bytes]:
        if self.values is None:
            raise secret.SecretError("gone")
        return self.values


def _guard(kept: _Secret) -> tokens.TokenGuard:
    guard = tokens.TokenGuard(kept)
    guard.load()
    return guard


@pytest.mark.parametrize(
    ("shown", "client"),
    [
        ("Bearer one", "a"),
        ("bearer  two ", "b"),
        ("Bearer on", None),
        ("Bearer onetwo", None),
        ("Bearer ", None),
        ("Bearer", None),
        ("one", None),
        ("Basic one", None),
        ("", None),
        ("Bearer \udcff\udcfe", None),
    ],
)
def test_only_a_whole_token_opens_and_names_its_client(shown: str, client: str | None) -> None:
    """Catches a prefix that is enough, another scheme, an empty token, and a header that can't be encoded."""
    assert _guard(_Secret(a=b"one\n", b=b"two")).client(shown) == client


@pytest.mark.parametrize("value", [b"", b" \n", b"a b", b"a\x00", "é".encode()])
def test_what_can_be_no_token_is_refused_with_its_key_and_without_the_value(value: bytes) -> None:
    """Catches an empty file that lets everybody in, and a token in an error message."""
    with pytest.raises(secret.SecretError, match='secret "tokens", key "c"') as refused:
        _guard(_Secret(c=value))
    assert len(value.strip()) < 2 or value.decode() not in str(refused.value)


def test_a_secret_without_keys_does_not_start() -> None:
    """Catches a door that nobody can pass, found out only by the first client."""
    with pytest.raises(secret.SecretError, match="has no keys"):
        _guard(_Secret())


def test_tokens_change_without_a_restart_and_never_stand_in_the_log() -> None:
    """Catches a revoked token that still opens, a lost folder that locks everybody out, and a token in a log line."""
    kept = _Secret(a=b"first-token", b=b"second-token")
    guard = _guard(kept)
    with structlog.testing.capture_logs() as logged:
        kept.values = {"a": b"third-token"}
        guard.reload()
        after = [guard.client(f"Bearer {token}") for token in ("first-token", "second-token", "third-token")]
        kept.values = None
        guard.reload()
        kept.values = {"a": b""}
        guard.reload()
        still = guard.client("Bearer third-token")
        kept.values = {}
        guard.reload()
        closed = guard.client("Bearer third-token")
    assert (after, still, closed) == ([None, None, "a"], "a", None)
    assert "tokens_not_reloaded" in str(logged)
    assert "-token" not in str(logged)
