"""`penstock send` as a person and as a script see it."""

from __future__ import annotations

import asyncio
import json
import pathlib
import tempfile
import threading
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result
from tests.unit.cli import ingests

from penstock.cli import main


@pytest.fixture
def ingest() -> ingests.Ingest:
    return ingests.Ingest(iter([ingests.reject(1)]))


@pytest.fixture
def address(ingest: ingests.Ingest) -> Iterator[str]:
    """The ingest, served by a loop of its own: the command has one, too."""
    started, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve(where: str) -> None:
        async with ingests.serving(ingest, where):
            started.set()
            await stop.wait()

    with tempfile.TemporaryDirectory() as directory:
        where = f"unix:{directory}/ingest"
        thread = threading.Thread(target=loop.run_until_complete, args=(serve(where),))
        thread.start()
        started.wait()
        yield where
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def send(*arguments: object) -> Result:
    return CliRunner().invoke(main.cli, ["send", *map(str, arguments)])


def test_a_reject_is_named_by_its_line_and_makes_the_answer_no(
    ingest: ingests.Ingest, address: str, tmp_path: pathlib.Path
) -> None:
    """Catches an index of the request shown as if it were a line, and an exit code of 0 after rejects."""
    (tmp_path / "events").write_text('{"a":1}\n\n{"a":2}\n{"a":3}\n')
    result = send(tmp_path / "events", "--to", address)
    assert result.exit_code == 1
    assert "line 3: SchemaMismatch: n: bad\n    mend\n" in result.output
    assert "2 events accepted · 1 rejected" in result.output
    assert sorted(ingest.stored) == [b'{"a":1}', b'{"a":3}']


def test_the_summary_for_scripts_is_one_object(address: str, tmp_path: pathlib.Path) -> None:
    """Catches prose on stdout where a script reads JSON."""
    (tmp_path / "events").write_text('{"a":1}\n{"a":2}\n')
    summary = json.loads(send(tmp_path / "events", "--to", address, "-o", "json").stdout)
    assert (summary["events"], summary["accepted"], summary["rejected"]) == (2, 1, 1)
    assert summary["first_rejects"][0]["line"] == 2


def test_a_second_run_with_the_same_cursor_sends_nothing(ingest: ingests.Ingest, address: str, tmp_path: pathlib.Path) -> None:
    """Catches a cursor that is written and not read."""
    (tmp_path / "events").write_text('{"a":1}\n{"a":2}\n')
    arguments = (tmp_path / "events", "--to", address, "--cursor", tmp_path / "cursor")
    first, second = send(*arguments), send(*arguments)
    assert ingest.requests == [2]
    assert first.output.splitlines()[-1] == second.output.splitlines()[-1]


def test_nobody_there_is_an_outage_with_a_remedy(tmp_path: pathlib.Path) -> None:
    """Catches a traceback, and an exit code that looks like bad input."""
    (tmp_path / "events").write_text("{}\n")
    result = send(tmp_path / "events", "--to", f"unix:{tmp_path}/nobody", "--give-up-after", "0.01")
    assert result.exit_code == 3
    assert "start the pipeline with penstock run" in result.output
    assert "Traceback" not in result.output


def test_a_pipe_has_no_cursor() -> None:
    """Catches events that are skipped because an earlier pipe had as many."""
    result = send("-", "--cursor", "x")
    assert result.exit_code == 2
    assert "--cursor needs a FILE" in result.output
