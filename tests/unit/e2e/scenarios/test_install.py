"""The release of a run: is it as it was before, whatever a scenario changes for a while?"""

from __future__ import annotations

from typing import Any, cast

import pytest
from e2e.scenarios import install


class _Cluster:
    """Remembers what Helm was told, and fails where it is told to."""

    def __init__(self, fails: str = "") -> None:
        self.told: list[str] = []
        self.fails = fails

    def helm(self, *words: str) -> str:
        self.told.append(words[0])
        if words[0] == "rollback":
            self.told.append(words[2])
        if words[0] == self.fails:
            raise RuntimeError(self.fails)
        return '[{"revision": 7}]'


def test_a_release_that_was_changed_is_put_back() -> None:
    """Catches a scenario that leaves its settings to all that follow, and one that goes back to the first release of all."""
    cluster = _Cluster()
    with install.changed(cast("Any", cluster), "--set=a=b"):
        assert cluster.told == ["history", "upgrade"]
    assert cluster.told == ["history", "upgrade", "rollback", "7"]


@pytest.mark.parametrize("fails", ["upgrade", ""])
def test_a_release_is_put_back_too_when_something_goes_wrong(fails: str) -> None:
    """Catches a roll-out that hangs and is what the next scenario finds."""
    cluster = _Cluster(fails)
    with pytest.raises(RuntimeError), install.changed(cast("Any", cluster)):
        raise RuntimeError
    assert cluster.told[-2:] == ["rollback", "7"]
