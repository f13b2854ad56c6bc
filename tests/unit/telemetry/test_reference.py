"""The reference page names every metric once, as it is scraped."""

from __future__ import annotations

import prometheus_client

from penstock.telemetry import metrics, reference


def test_every_metric_is_on_the_page() -> None:
    """Catches a metric of a kind the page leaves out."""
    page = reference.page()
    for family in metrics.REGISTRY.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert f"| `{name}` | {family.type} |" in page
        assert family.documentation in page


def test_names_are_those_of_the_exposition() -> None:
    """Catches counters listed without the suffix they are scraped with."""
    assert "`penstock_dead_letters_total`" in reference.page()
    assert b"penstock_dead_letters_total" in prometheus_client.generate_latest(metrics.REGISTRY)


def test_labels_and_buckets_are_shown() -> None:
    """Catches an empty label column, and the +Inf bucket listed as a bound."""
    page = reference.page()
    assert "| `penstock_gc_pause_seconds` | histogram | `generation` |" in page
    assert "| `penstock_log_flush_records` | 1 · 2 · 4 · 8 · 16 · 32 · 64 · 128 |" in page


def test_the_page_is_the_same_every_time() -> None:
    """Catches an order that depends on hashing, which would make the generated file differ from run to run."""
    assert reference.page() == reference.page()


def test_the_number_of_time_series_is_bounded_by_the_labels() -> None:
    """Catches a label whose values come from events (ids, keys, tables, addresses)."""
    allowed = {"pipeline", "namespace", "sink", "stage", "outcome", "reason", "partition", "door", "code", "path", "topic"}
    allowed |= {"category", "result_class", "waited", "sum", "kind", "sink_type", "state", "generation", "version"}
    rows = [row.split("|") for row in reference.page().split("## Buckets")[0].splitlines() if row.startswith("| `")]
    labels = {label.strip(" `") for row in rows for label in row[3].split(",")} - {"–"}
    assert rows
    assert labels <= allowed
