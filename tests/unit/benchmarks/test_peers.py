"""The harness that measures Penstock beside others: what it compares, counts and says."""

import json

import pytest
from benchmarks import page
from benchmarks.peers import comparison, contender, contenders, jobs, measuring, process, table, workload

LAND = next(job for job in jobs.ALL if job.name == "land")
EXPLODE = next(job for job in jobs.ALL if job.name == "explode")


@pytest.fixture
def landed(tmp_path):
    """Events of a small run, and the rows they must make."""
    events = workload.write_lines(tmp_path / "events", LAND.documents(200))
    return workload.write_rows(tmp_path / "expected.ndjson", LAND.rows(events))


def test_rows_in_any_order_are_the_same(landed, tmp_path):
    """Catches a comparison of files instead of rows."""
    lines = landed.read_bytes().splitlines(keepends=True)
    (tmp_path / "found.ndjson").write_bytes(b"".join(reversed(lines[50:])))
    (tmp_path / "rest.ndjson").write_bytes(b"".join(lines[:50]))
    found = [tmp_path / "found.ndjson", tmp_path / "rest.ndjson"]
    assert comparison.difference(landed, found, LAND.columns) is None


@pytest.mark.parametrize(
    ("change", "missing", "unexpected"),
    [
        (lambda lines: lines[1:], 1, 0),
        (lambda lines: [*lines, lines[0]], 0, 1),
        (lambda lines: [lines[0].replace(b'"shard":', b'"shard":1'), *lines[1:]], 1, 1),
        (lambda lines: [*lines[1:], lines[1]], 1, 1),
        (lambda lines: [], None, 0),
    ],
    ids=["one is lost", "one is there twice", "one has another value", "one in place of another", "nothing"],
)
def test_a_difference_is_seen_and_counted(landed, tmp_path, change, missing, unexpected):
    """Catches a comparison that can't fail, looks at counts only, or at sets."""
    lines = landed.read_bytes().splitlines(keepends=True)
    path = tmp_path / "found.ndjson"
    path.write_bytes(b"".join(change(lines)))
    found = comparison.difference(landed, [path], LAND.columns)
    assert found is not None
    assert (found.missing, found.unexpected) == (len(lines) if missing is None else missing, unexpected)


def test_times_are_compared_as_times(tmp_path):
    """Catches texts compared letter by letter: each contender writes times in its own way."""
    for name, text in (("one", "2026-01-01T08:00:00Z"), ("other", "2026-01-01 08:00:00.000+00")):
        (tmp_path / name).write_text(f'{{"ts":"{text}"}}\n')
    assert comparison.difference(tmp_path / "one", [tmp_path / "other"], {"ts": "TIMESTAMPTZ"}) is None


def test_a_smaller_workload_is_the_beginning_of_a_larger_one():
    """Catches sizes that differ in more than their size: the slope between them would mean nothing."""
    for job in jobs.ALL:
        assert list(job.documents(500))[:100] == list(job.documents(100))


def test_an_empty_array_makes_no_row_and_a_full_one_a_row_per_item(tmp_path):
    """Catches a reference that keeps what the contenders skip."""
    events = workload.write_lines(tmp_path / "events", EXPLODE.documents(300))
    items = [len(json.loads(line)["items"]) for line in events.read_bytes().splitlines()]
    rows = list(EXPLODE.rows(events))
    assert len(rows) == sum(items)
    assert 0 in items
    assert {name for row in rows for name in row} == set(EXPLODE.columns)


class _Server:
    """Stands in for a broker: it only counts."""

    bootstrap = "nowhere:0"

    def __init__(self):
        self.topics = set()

    def cpu_seconds(self):
        return 0.0

    def make(self, topic):
        self.topics.add(topic)
        return topic

    def drop(self, topics):
        self.topics -= set(topics)

    def fill(self, topic, lines):
        assert topic in self.topics


class _Contender:
    """Copies the right rows, or less; each event costs 2 µs and starting a second."""

    says = "copies"

    def __init__(self, name, drops=0):
        self.name, self._drops = name, drops

    def version(self):
        return "1"

    def offers(self, job):
        return True

    def run(self, task):
        rows = list(task.job.rows(task.events))
        path = workload.write_rows(task.folder / "rows.ndjson", rows[self._drops :])
        return contender.Done(cpu_seconds={"one": 1.0 + task.count * 2e-6}, files=[path])


def test_an_event_costs_the_slope_and_other_rows_do_not_count(tmp_path):
    """Catches start-up counted into the events, and a contender in the table whose rows were wrong."""
    server = _Server()
    measured = measuring.Bench(server, tmp_path).measure(LAND, [_Contender("right"), _Contender("wrong", 3)], 2, quick=True)
    right, wrong = measured["contenders"]
    assert right["cpu_us"] == pytest.approx(2.0)
    assert right["start_seconds"] == pytest.approx(1.0)
    assert "cpu_us" not in wrong
    assert "3 rows missing, 0 unexpected" in wrong["fault"]
    assert not server.topics


def test_a_process_that_fails_says_why_and_one_that_works_is_charged(tmp_path):
    """Catches an exit code that nobody looks at, and CPU time taken before the end."""
    busy = process.Process("busy", ["python3", "-c", "sum(range(3_000_000))"], tmp_path)
    assert busy.ended() > 0
    failing = process.Process("failing", ["python3", "-c", "raise SystemExit('no such topic')"], tmp_path)
    with pytest.raises(process.ContenderError, match="ended with 1: no such topic"):
        failing.ended()


def test_the_table_says_who_misses_who_does_not_count_and_who_has_no_such_job():
    """Catches a table in which everybody looks fine."""

    def one(name, **rest):
        return {"name": name, "version": "1", "says": "does it", "offered": True} | rest

    def figures(cpu):
        return {"cpu_us": cpu, "range": [cpu, cpu], "parts_us": {"all": cpu}, "broker_us": 0.1, "start_seconds": 1.0}

    environment = {"date": "", "commit": "", "processor": "", "cores": 2, "python": "", "load_before": [1], "load_after": [2]}
    measured = {
        "name": "land",
        "says": "a job",
        "sizes": [1, 2],
        "rows": [1, 2],
        "rounds": 3,
        "environment": environment,
        "contenders": [
            one("Penstock", **figures(5.0)),
            one("Benthos core", **figures(30.0)),
            one("msgspec loop", **figures(4.0)),
            one("Flink SQL", fault="other rows"),
            one("Bytewax", offered=False, fault=""),
        ],
    }
    text = table.tables({"jobs": [measured]})
    assert "| Penstock | 5.00 | 5.00 – 5.00 |  | 0.10 | 1.00× | ≤ 4 µs: **missed** |" in text
    assert "| Benthos core | 30.00 | 30.00 – 30.00 |  | 0.10 | 6.00× | ≥ 5×: met |" in text
    assert "0.80× | ≥ 1×: **missed** |" in text
    assert "| Flink SQL | does not count | | | | | other rows |" in text
    assert "Not offered, as it has no door of its own: Bytewax." in text


def test_names_of_contenders_are_distinct_and_each_has_a_job():
    """Catches two lines of one name, and a contender that is never run."""
    assert len({one.name for one in contenders.ALL}) == len(contenders.ALL)
    assert all(one.version() and any(one.offers(job) for job in jobs.ALL) for one in contenders.ALL)


def test_the_page_quotes_the_peers_results():
    """Catches figures edited by hand, and results taken over without their page."""
    shown = page.PAGE.read_text()
    assert page.peers_rewritten(shown, json.loads(page.PEERS_RESULTS.read_text())) == shown
