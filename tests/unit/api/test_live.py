"""Settings that a running lane takes: what is one, what is none, and that both ends call the same thing by the same name."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.api import live
from penstock.api.model import sinks


def _sink(**changes: Any) -> sinks.Sink:
    http = {"url": "http://store:1/"}
    return sinks.Sink.model_validate({"name": "warehouse", "type": "HTTP", "http": http, **changes})


_EDITS: dict[str, dict[str, Any]] = {
    "static": {"batching": {"static": {"rows": 7, "lingerMilliseconds": 9, "concurrency": 2}}},
    "limits": {"batching": {"limits": {"rows": 70, "bytes": 70_000, "lingerMilliseconds": 90}}},
    "objective": {"batching": {"objective": {"latencyMilliseconds": 900, "prefer": "LowerLatency"}}},
    "retry": {"retry": {"unclassifiedAttempts": 3}},
    "breaker": {"circuitBreaker": {"mode": "ForcedOpen", "openSeconds": 5}},
    "hedging": {"hedging": {"mode": "Idempotent", "afterPercentile": 90}},
    "nothing": {},
}


@pytest.mark.parametrize("edit", _EDITS.values(), ids=_EDITS)
def test_a_sink_that_is_told_an_edit_is_as_if_it_had_been_started_with_it(edit: dict[str, Any]) -> None:
    """Catches a member that does not arrive, and one of before that stays though the edit leaves it out."""
    before = _sink(batching={"static": {"rows": 3}, "limits": {"concurrency": 5}}, retry={"initialBackoffMilliseconds": 9})
    wanted = _sink(**edit)
    made = live.changed(before, live.text(wanted))
    assert live.version(made) == live.version(wanted)
    assert made.batching.limits.concurrency == 5
    assert made.retry == wanted.retry
    assert live.fixed(made.model_dump(by_alias=True)) == live.fixed(before.model_dump(by_alias=True))


def test_defaults_that_are_written_out_are_no_other_settings() -> None:
    """Catches pods that are told again and again what they do already."""
    assert live.version(_sink(retry={"unclassifiedAttempts": 8}, batching={"static": {}})) == live.version(_sink())
    assert live.version(_sink(batching={"limits": {"concurrency": 5}})) == live.version(_sink())


@pytest.mark.parametrize(
    "told", ["nonsense", "[]", '{"http": {"url": "http://evil/"}}', '{"batching": {"static": {"rows": -1}}}', '{"batching": 3}']
)
def test_settings_that_can_not_be_used_are_refused(told: str) -> None:
    """Catches a store's address that is changed over the way for settings, and a lane that stops over nonsense."""
    with pytest.raises((ValueError, AttributeError)):
        live.changed(_sink(), told)
