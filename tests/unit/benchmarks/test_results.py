"""What the benchmark says of its own figures: targets, ratios, the table, the page."""

from __future__ import annotations

import io
import json

import pytest
import rich.console
from benchmarks import __main__ as command
from benchmarks import case, cases, page, report, stage, together


def _measured(*samples: tuple[float, float], target: case.Target | None = None, name: str = "one", **extra) -> case.Measured:
    return case.Measured(
        name=name,
        unit="event",
        says="says",
        target=target or case.Target(),
        events=10,
        samples=[case.Sample(product_us=ours, reference_us=theirs) for ours, theirs in samples],
        extra=extra,
    )


def test_the_ratio_is_the_median_of_the_rounds_ratios():
    """Catches a ratio of medians, which mixes rounds that had different neighbours."""
    assert _measured((1.0, 10.0), (2.0, 4.0), (4.0, 12.0)).ratio == 3.0


@pytest.mark.parametrize(
    ("target", "misses"),
    [
        (case.Target(cpu_us=2.0), ""),
        (case.Target(cpu_us=1.0), "1.00 µs too slow (100%)"),
        (case.Target(ratio=3.0), ""),
        (case.Target(ratio=4.0), "3.00× instead of 4×"),
        (case.Target(cpu_us=1.6, ratio=4.0), "0.40 µs too slow (25%); 3.00× instead of 4×"),
    ],
    ids=str,
)
def test_a_missed_target_says_by_how_much(target, misses):
    """Catches a target compared the wrong way round, or one of two that is not looked at."""
    assert _measured((2.0, 6.0), target=target).misses == misses


def test_faults_are_misses_too():
    """Catches wrong verdicts that are written down and overlooked."""
    assert not _measured((1.0, 1.0), faults=["3 wrongly dropped"]).summary()["meets_target"]


def test_what_has_no_target_neither_meets_nor_misses_one():
    """Catches a table that says "met" where nothing was asked."""
    assert _measured((1.0, 1.0)).summary()["meets_target"] is None


def test_an_entry_of_the_summary_has_what_was_agreed():
    """Catches a renamed field that others read."""
    told = _measured((1.0, 3.0), (2.0, 8.0), (3.0, 6.0), target=case.Target(cpu_us=6, ratio=2)).summary()
    assert {name: told[name] for name in ("name", "cpu_us_per_event", "reference_cpu_us_per_event", "ratio", "target")} == {
        "name": "one",
        "cpu_us_per_event": 2.0,
        "reference_cpu_us_per_event": 6.0,
        "ratio": 3.0,
        "target": "≤ 6 µs, ≥ 2×",
    }
    assert told["meets_target"]
    assert told["range"]["cpu_us_per_event"] == [1.0, 3.0]


class _Bench:
    def __init__(self, answer: int) -> None:
        self.answer, self.calls = answer, []

    def inputs(self):
        return 1

    def product(self, inputs):
        self.calls.append("product")
        return inputs

    def reference(self, inputs):
        self.calls.append("reference")
        return self.answer

    def check(self, product, reference):
        case.require_same("bench", product, reference)

    def extra(self):
        return {"calls": self.calls}


def _stage(answer: int) -> stage.StageCase:
    return stage.StageCase(name="s", says="", target=case.Target(), events=10, quick_events=5, open=lambda count: _Bench(answer))


def test_the_two_sides_take_turns_in_going_first():
    """Catches an order that gives one side the warm caches every time."""
    measured = _stage(1).measure(case.Effort(rounds=3, allocations=False))
    assert measured.extra["calls"] == ["product", "reference", "reference", "product"] * 2
    assert len(measured.samples) == 3


def test_different_outputs_end_the_benchmark():
    """Catches a comparison that is made and not looked at."""
    with pytest.raises(case.DifferentOutputError, match="bench"):
        _stage(2).measure(case.Effort(rounds=5))


def test_stages_are_added_up_round_by_round():
    """Catches a sum of one stage with itself, or of a stage that was not measured."""
    parts = [_measured((1.0, 4.0), name="deduplicate"), _measured((2.0, 5.0), name="transform")]
    assert [one.samples for one in together.sums(parts)] == [[case.Sample(product_us=3.0, reference_us=9.0)]]
    assert together.sums(parts[:1]) == []


class _Missed:
    name = "missed"

    def measure(self, effort):
        return _measured((2.0, 2.0), target=case.Target(cpu_us=1), name="missed")


@pytest.mark.parametrize(("arguments", "code"), [([], 0), (["--check"], 1), (["--only", "nothing"], 2)], ids=str)
def test_a_missed_target_is_shown_and_fails_only_a_check(arguments, code, tmp_path, monkeypatch, capsys):
    """Catches a miss that is hidden, and one that breaks a plain run."""
    monkeypatch.setattr(cases, "ALL", [_Missed()])
    assert command.main([*arguments, f"--out={tmp_path}"]) == code
    if code != 2:
        assert "missed missed: 1.00 µs too slow" in capsys.readouterr().out
        assert [entry["name"] for entry in json.loads((tmp_path / "summary.json").read_text())] == ["missed"]


def test_names_of_cases_are_distinct():
    """Catches two cases of which one hides the other in whatever reads the summary by name."""
    names = [one.name for one in cases.ALL]
    assert len(set(names)) == len(names)


def test_the_table_marks_what_is_missed():
    """Catches a table in which everything looks met."""
    console = rich.console.Console(record=True, width=150, file=io.StringIO())
    report.show(console, [_measured((1.0, 2.0), target=case.Target(ratio=1)), _measured((2.0, 2.0), target=case.Target(ratio=5))])
    text = console.export_text()
    assert "met" in text
    assert "MISSED" in text


def test_the_page_quotes_the_committed_results():
    """Catches figures edited by hand, and results taken over without their page."""
    shown = page.PAGE.read_text()
    assert page.rewritten(shown, json.loads(page.RESULTS.read_text())) == shown


def test_a_page_without_its_marks_is_refused():
    """Catches a page that is overwritten, or silently left as it was."""
    with pytest.raises(page.NoTableError):
        page.rewritten("# Performance\n", {})
