"""Keyed state through `penstock run` and kill -9: the landed rows are those of a reader that was never stopped."""

from __future__ import annotations

import pathlib
from typing import Any

from tests.integration import running

TEXT = running.changed(
    schema={
        "fields": [
            {"name": "id", "type": "Int64", "required": True},
            {"name": "customer", "type": "Int64", "required": True},
            {"name": "page", "type": "String"},
            {"name": "paid", "type": "Int64"},
        ]
    },
    transform={
        "state": {
            "key": ["customer"],
            "values": [
                {"name": "visits_before", "type": "Count"},
                {"name": "previous_page", "type": "Last", "field": "page"},
                {"name": "paid_before", "type": "Sum", "field": "paid"},
            ],
        },
        "variables": [{"name": "first_visit", "value": "visits_before = 0"}],
        "filter": {"expression": "not first_visit"},
        "select": [{"name": name} for name in ("id", "visits_before", "previous_page", "paid_before")],
    },
    sinks=running.only_warehouse(),
)
SQL = "SELECT id, visits_before, previous_page, paid_before FROM orders ORDER BY id"


def events(first: int, count: int) -> list[dict[str, Any]]:
    return [
        {"id": number, "customer": number * 7 % 13, "page": None if number % 5 == 0 else f"/p{number % 11}", "paid": number % 3}
        for number in range(first, first + count)
    ]


def expected(sent: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    known: dict[int, tuple[int, str | None, int]] = {}
    judged: set[int] = set()
    rows = []
    for event in sent:
        if event["id"] in judged:
            continue
        judged.add(event["id"])
        visits, page, paid = known.get(event["customer"], (0, None, 0))
        if visits:
            rows.append((event["id"], visits, page, paid))
        known[event["customer"]] = (visits + 1, event["page"] or page, paid + event["paid"])
    return sorted(rows)


def test_rows_after_kills_are_those_of_a_run_that_was_never_stopped(tmp_path: pathlib.Path) -> None:
    """Catches state lost, counted twice or taken from another moment when the process dies under load."""
    sent: list[dict[str, Any]] = []
    with running.Running(tmp_path, TEXT) as run:
        for turn in range(3):
            run.start()
            for first in range(turn * 2_000, turn * 2_000 + 2_000, 200):
                # Some of them a second time, so that verdicts must survive as well.
                batch = events(first, 200) + events(max(0, first - 30), 30)
                run.send(batch)
                sent += batch
            run.pipeline.kill()
        run.start()
        run.settled()
        assert run.landed(SQL) == expected(sent)
        assert run.metrics()['penstock_state_keys{namespace="shop",pipeline="orders",sink="warehouse"}'] == 13
        found = run.command("where", "--data", "data", "id=40", "customer=7")
        assert found.code == 0, found
        assert "Landed" in found.out


def test_the_test_command_knows_the_state_too(tmp_path: pathlib.Path) -> None:
    """Catches expectations that can't be tried without a log."""
    (tmp_path / "pipeline.yaml").write_text(TEXT)
    (tmp_path / "events.ndjson").write_bytes(running.ndjson(events(0, 40)))
    said = running.command(tmp_path, "test", "pipeline.yaml", "events.ndjson", "--rows", "100")
    assert said.code == 0, said
    shown = [line.split() for line in said.out.splitlines()]
    for id_, visits, page, paid in expected(events(0, 40)):
        assert any(
            str(id_) in cells and str(visits) in cells and (page or "NULL") in cells and str(paid) in cells for cells in shown
        )
