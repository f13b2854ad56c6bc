"""The corpus of hostile input against its expected answers, word for word, with memory measured in the process at work."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.hostile import asking, events, record, requests
from tests.integration import running

_MIB = 1 << 20
_MOST_OF_THE_PIPELINE = 1536 * _MIB
_MOST_OF_ONE_PROCESS = 1024 * _MIB
_ASK = """
import json, re
from tests.hostile import asking
answers = dict(asking.of_this_process())
# Not getrusage: its peak is inherited from the process that started this one.
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
print(json.dumps([answers, peak]))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[running.Running]:
    """One pipeline for the whole corpus."""
    with running.Running(tmp_path_factory.mktemp("hostile"), asking.PIPELINE) as started:
        yield started.start()
        started.settled()
        assert started.pipeline.stop() == 0


def _peak_bytes(run: running.Running) -> int:
    assert run.pipeline.process is not None
    text = pathlib.Path(f"/proc/{run.pipeline.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) << 10


def _differing(answers: dict[str, str], rooms: tuple[str, ...]) -> dict[str, tuple[str | None, str | None]]:
    known = {name: said for name, said in asking.known().items() if name.startswith(rooms)}
    names = [*known, *(name for name in answers if name not in known)]
    return {name: (known.get(name), answers.get(name)) for name in names if known.get(name) != answers.get(name)}


def test_every_door_answers_exactly_and_the_neighbours_land(run: running.Running) -> None:
    """Catches a verdict that moved, a neighbour lost, a template steered by an event, and memory without bound."""
    answers = dict(asking.of_the_doors(asking.Doors(run)))
    assert _differing(answers, ("event", "request", "connection")) == {}
    run.settled()
    every = 3 * len(events.EVENTS)
    tables = {row[0] for row in run.landed("SELECT table_name FROM information_schema.tables")}
    assert {name for name in tables if not name.startswith("_penstock")} == {"events_eu", "events_us", "events_other"}
    # Where an array is broken open, nothing after the break can be told apart; the answer says so.
    cut_off = sum(name.startswith("event") and "this and all after it are refused" in said for name, said in answers.items())
    assert cut_off == 3
    for table, neighbour, sent in (("events_eu", "before", every), ("events_us", "after", every - cut_off)):
        ((count,),) = run.landed(f"SELECT count(*) AS n FROM {table} WHERE id = '{neighbour}'")
        assert count == sent, neighbour
    assert _peak_bytes(run) < _MOST_OF_THE_PIPELINE


def test_expressions_files_and_blocks_are_answered_exactly() -> None:
    """Catches SQL that reaches out, grows or never ends, YAML that multiplies, and a block that is believed."""
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", _ASK], cwd=root, capture_output=True, text=True, timeout=120, check=True)
    answers, peak_kib = json.loads(done.stdout)
    assert _differing(answers, ("expression", "file", "block")) == {}
    assert peak_kib << 10 < _MOST_OF_ONE_PROCESS


def test_the_page_shows_the_answers() -> None:
    """Catches a table that was not written again."""
    assert record.page(asking.known()) == record.PAGE.read_text()


def test_names_are_given_once() -> None:
    """Catches an entry that hides another."""
    names = [one.name for one in (*events.EVENTS, *requests.REQUESTS, *requests.RAW)]
    assert len(names) == len(set(names))
