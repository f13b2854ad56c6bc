"""How long events stay that everybody has read."""

from __future__ import annotations

import pytest

from penstock.machine import retention


@pytest.mark.parametrize(("size", "seconds"), [(0, 7200.0), (80, 7200.0), (81, 0.0), (200, 0.0)])
def test_what_is_read_gives_way_before_the_log_is_full(size: int, seconds: float) -> None:
    """Catches doors that refuse events for two days because of events that all lanes have landed."""
    assert retention.keep_seconds(2, size, 100) == seconds
