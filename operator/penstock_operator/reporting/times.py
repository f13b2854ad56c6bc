"""Moments and stretches of time, as an API server writes them and as people read them."""

from __future__ import annotations

import datetime


def text(moment: datetime.datetime) -> str:
    """To the second, in UTC."""
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(told: str | None) -> datetime.datetime | None:
    """What `text` wrote; None for nothing."""
    return datetime.datetime.fromisoformat(told) if told else None


def spoken(seconds: float) -> str:
    """About how long: 0.3s, 14m, 33h, 12d."""
    if seconds < 10:
        return f"{seconds:.1f}s" if seconds else "0s"
    for unit, size, until in (("s", 1, 120), ("m", 60, 120 * 60), ("h", 3600, 72 * 3600)):
        if seconds < until:
            return f"{seconds / size:.0f}{unit}"
    return f"{min(seconds / 86_400, 9999):.0f}d"


def short(count: float) -> str:
    """About how many: 950, 18k, 2.1M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            scaled = count / size
            return f"{scaled:.0f}{unit}" if scaled >= 10 else f"{scaled:.1f}{unit}"
    return f"{count:.0f}"
