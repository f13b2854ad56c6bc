"""What is told of unread records that their topic deletes soon."""

from __future__ import annotations

import types

import pytest

from penstock.log import port
from penstock.machine import expiring, sourcing
from penstock.telemetry import metrics
from penstock.v1 import control_pb2

LABELS = {"pipeline": "expiring", "namespace": "test", "sink": "lake"}


class Lanes:
    """One lane, which has finished what lies below offset 7 of partition 0."""

    groups = ("lake",)

    def __getitem__(self, sink):
        accounts = types.SimpleNamespace(commits=lambda: {0: (7, None)})
        return types.SimpleNamespace(accounts=accounts, settings=types.SimpleNamespace(labels=LABELS))


def watching(monkeypatch, *answers):
    """Answers by turn: a share, or an error."""
    left, asked = list(answers), []

    async def used(finished):
        asked.append(dict(finished))
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(sourcing, "retention_used", lambda log: used)
    return expiring.Expiring(None, Lanes()), asked


def told(watch, message=""):
    status = control_pb2.LaneStatus(sink="lake", message=message)
    watch.add_to([status])
    return status.lag.retention_used, status.message


@pytest.mark.parametrize(("used", "warned"), [(0.0, False), (0.79, False), (0.8, True), (3.0, True)])
async def test_who_is_near_is_told_with_the_remedy(monkeypatch, used, warned):
    """Catches a share without a warning, a warning about everything, and 300 % of something."""
    watch, asked = watching(monkeypatch, used)
    await watch.look()
    share, message = told(watch)
    assert (asked, share) == ([{0: 7}], used)
    assert ("retention.ms" in message, "300" in message) == (warned, False)
    assert metrics.LANE_RETENTION_USED.labels(**LABELS)._value.get() == used


async def test_what_else_a_lane_says_is_not_hidden(monkeypatch):
    """Catches a halted lane that speaks of retention."""
    watch, _ = watching(monkeypatch, 1.0)
    await watch.look()
    assert told(watch, "LogGap: gone") == (1.0, "LogGap: gone")


async def test_while_brokers_are_away_the_last_share_stands(monkeypatch):
    """Catches a chore that ends with its first error, and a 0 because nobody could be asked."""
    watch, asked = watching(monkeypatch, 0.9, port.LogUnavailableError("away"), 0.1)
    for wanted in (0.9, 0.9, 0.1):
        await watch.look()
        assert told(watch)[0] == wanted
    assert len(asked) == 3


async def test_a_log_that_keeps_what_is_unread_is_not_looked_at():
    """Catches questions to a log of our own, which deletes nothing unread."""
    watch = expiring.Expiring(None, Lanes())
    await watch.look()
    assert told(watch) == (0.0, "")
