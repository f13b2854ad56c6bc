"""`penstock dlq analyse` over a real log of a few dead letters."""

from __future__ import annotations

import json

import pytest
from tests.unit.cli.test_dlq import letter, run, write

from penstock.core import deadletters, selection

REJECTED = {
    "category": deadletters.Category.SINK_REJECTED,
    "sink": "archive",
    "expression": "",
    "fingerprint": "SinkRejected: value ? is too long",
    "message": "value 'x\x1b[31m' is too long",
}


@pytest.fixture
def data(tmp_path):
    write(tmp_path, letter(1), letter(2, **REJECTED), letter(3), letter(1), letter(4, expression="arrived_at"), letter(5))
    return tmp_path


def causes(*arguments) -> list[dict[str, object]]:
    return [json.loads(line) for line in run("analyse", "-o", "json", *arguments).splitlines()]


def test_letters_are_grouped_by_cause_the_most_frequent_first(data):
    """Catches two expressions, or two sinks, mixed up in one cause, and a letter counted twice because a crash wrote it twice."""
    found = causes("--data", data)
    assert [(cause["count"], cause["sink"], cause["expression"]) for cause in found] == [
        (3, "warehouse", "departed_at"),
        (1, "warehouse", "arrived_at"),
        (1, "archive", ""),
    ]
    first = found[0]
    assert (first["first_failed_at"][:13], first["last_failed_at"][:13]) == ("2026-01-01T01", "2026-01-01T05")
    assert (first["example_id"], first["example"]) == (letter(5).id, '{"id":5,"at":"soon"}')
    assert first["fingerprint_id"] == selection.fingerprint_id("TransformFailed: could not parse ?")


@pytest.mark.parametrize(
    ("arguments", "counts"),
    [
        (["--sink", "archive"], [1]),
        (["--expression", "arrived_at"], [1]),
        (["--fingerprint", selection.fingerprint_id("SinkRejected: value ? is too long")[:6].upper()], [1]),
        (["--until", "2026-01-01T05:00:00Z"], [2, 1, 1]),
        (["--since", "2026-01-01T05:00:00Z"], [1]),
        (["--limit", "1"], [3]),
        (["--category", "Malformed"], []),
    ],
    ids=str,
)
def test_an_analysis_is_narrowed(data, arguments, counts):
    """Catches a filter that is not applied."""
    assert [cause["count"] for cause in causes("--data", data, *arguments)] == counts


def test_the_text_has_the_event_the_totals_and_the_next_step(data):
    """Catches a cause without an example, an escape sequence that reaches the terminal, and totals of what is shown only."""
    text = run("analyse", "--data", data, "--limit", "2")
    assert '{"id":5,"at":"soon"}' in text
    assert "5 outstanding dead letters, 2 of 3 causes: TransformFailed 4 · SinkRejected 1" in text
    assert text.splitlines()[-1].startswith("next: penstock dlq replay --fingerprint ")
    assert "\x1b" not in run("analyse", "--data", data)


def test_a_large_original_is_cut(tmp_path):
    """Catches a screen full of one event."""
    write(tmp_path, letter(1, original=b"x" * 10_000))
    assert len(causes("--data", tmp_path)[0]["example"]) < 250


def test_nothing_outstanding_is_an_answer(tmp_path):
    """Catches a failure where all is well."""
    write(tmp_path)
    assert run("analyse", "--data", tmp_path) == "no outstanding dead letter matches\n"
