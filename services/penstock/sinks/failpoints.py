"""Named steps of a write at which a test may interfere; nothing happens there otherwise."""

from __future__ import annotations

from collections.abc import Callable

Failpoint = Callable[[str], None]
"""Called with the name of the step that has just been finished."""


def nothing(name: str) -> None:
    """What runs at every step outside tests."""
