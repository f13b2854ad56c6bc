"""What expressions make of many rows together, as memory of a process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tests.integration import growing_child

MIB = 1 << 20


@pytest.mark.parametrize(
    ("expression", "calls"),
    [("repeat(kind, 10000)", 20), ("repeat(kind, 1)", 1), ("upper(kind)", 1)],
    ids=["wild", "once", "tame"],
)
def test_what_rows_grow_to_bounds_a_call_and_not_only_each_row(expression: str, calls: int) -> None:
    """Catches calls cut by what events hold alone: 200 rows of 1 KB would be 2 GB at once. And calls cut where nothing grows."""
    command = [sys.executable, "-m", "tests.integration.growing_child", expression]
    told = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    times = growing_child.TIMES if calls > 1 else 1
    assert told["rows"] == growing_child.EVENTS
    assert told["made_bytes"] >= growing_child.EVENTS * growing_child.TEXT_BYTES * times
    assert told["calls"] == calls if calls == 1 else told["calls"] >= calls
    assert told["grown_bytes"] < 200 * MIB
