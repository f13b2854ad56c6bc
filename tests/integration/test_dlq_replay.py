"""`penstock dlq replay`, `discard` and `export` against `penstock run`, as a user has them."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest
from tests.integration import running

BAD = [{"id": f"bad{number}", "customer": number, "items": [number, number + 1], "note": "ten"} for number in range(6)]
MENDED = {
    "explode": {"field": "items", "as": "item", "indexAs": "item_no"},
    "select": [
        {"name": "id"},
        {"name": "customer"},
        {"name": "region", "value": "coalesce(region, 'none')"},
        {"name": "item_no"},
        {"name": "item"},
        {"name": "doubled", "value": "coalesce(try_cast(note as integer), 0) * 2"},
    ],
}
ROWS = sorted((event["id"], item) for event in BAD for item in event["items"])


@pytest.fixture
def failed(tmp_path: pathlib.Path):
    """A pipeline with twelve dead letters of the warehouse and ten rows that landed; it runs the mended transform."""
    with running.Running(tmp_path, running.changed(sinks=running.only_warehouse())) as run:
        run.start()
        run.send([*BAD, *(running.event(number) for number in range(1, 8, 2))])
        run.settled()
        assert len(run.landed()) == 8
        run.pipeline.stop()
        run.start(running.changed(sinks=running.only_warehouse(), transform=MENDED))
        yield run


def dlq(run: running.Running, *arguments: str) -> running.Said:
    return run.command("dlq", *arguments, "--data", str(run.pipeline.data.path))


def counted(run: running.Running) -> tuple[int, int, int, int, dict[str, int]]:
    told = run.settled().lanes[0].dead_letters
    return told.outstanding, told.replayed, told.discarded, told.expired, dict(told.by_category)


def bad_rows(run: running.Running) -> list[tuple[str, int]]:
    return run.landed("SELECT id, item FROM orders WHERE id LIKE 'bad%' ORDER BY ALL")


def letters(run: running.Running) -> list[dict[str, object]]:
    return [json.loads(line) for line in dlq(run, "ls", "-o", "json", "--limit", "100").out.splitlines()]


def test_mended_rows_are_put_back_once(failed):
    """Catches a dry run that acts, rows that land twice, a second replay that is none, and replays in the main ledger."""
    before = failed.settled().lanes[0].ledger
    said = dlq(failed, "replay", "--dry-run")
    assert (said.code, said.out) == (0, "12 would be put back\n")
    assert not bad_rows(failed)
    said = dlq(failed, "replay", "--reason", "cast mended")
    assert (said.code, said.out) == (0, "12 put back: 12 landed, 0 failed again\n")
    assert bad_rows(failed) == ROWS
    assert {letter["state"] for letter in letters(failed)} == {"Landed"}
    said = dlq(failed, "replay")
    assert (said.code, said.out) == (0, "nothing outstanding matches\n")
    status = failed.settled().lanes[0]
    assert status.ledger == before
    assert (status.replays.letters, status.replays.rows_landed, status.replays.failed_again) == (12, 12, 0)
    assert (status.replays.in_flight, status.replays.unexplained) == (0, 0)
    samples = failed.metrics()
    assert samples['penstock_lane_replays_total{namespace="shop",outcome="rows_landed",pipeline="orders",sink="warehouse"}'] == 12
    assert len(failed.landed()) == 20


def test_the_status_says_what_waits_also_after_kill_9(failed):
    """Catches counts that are lost or count twice with the process, and a status that goes on showing what was put back."""
    assert counted(failed) == (12, 0, 0, 0, {"TransformFailed": 12})
    failed.pipeline.kill()
    failed.start()
    assert counted(failed) == (12, 0, 0, 0, {"TransformFailed": 12})
    assert dlq(failed, "replay").code == 0
    assert counted(failed) == (0, 12, 0, 0, {})
    failed.pipeline.kill()
    failed.start()
    assert counted(failed) == (0, 12, 0, 0, {})
    running.until(
        lambda: (
            failed.metrics().get(
                'penstock_dead_letters_outstanding{category="TransformFailed",namespace="shop",pipeline="orders",sink="warehouse"}'
            )
            == 0
            or None
        )
    )


def test_only_what_is_meant_is_put_back_or_given_up(failed):
    """Catches filters that are lost on the way to the running pipeline."""
    [first] = [letter for letter in letters(failed) if letter["items"] == [1] and letter["offset"] == 0][:1]
    narrowed = ["--fingerprint", first["fingerprint_id"], "--expression", first["expression"], "--category", "TransformFailed"]
    assert dlq(failed, "replay", "--sink", "archive").out == "nothing outstanding matches\n"
    assert dlq(failed, "replay", "--until", "1h").out == "nothing outstanding matches\n"
    assert dlq(failed, "discard", "--category", "Malformed", "--reason", "x").out == "nothing outstanding matches\n"
    said = dlq(failed, "discard", *narrowed, "--reason", "not needed")
    assert said.out == "12 discarded\n"
    assert dlq(failed, "replay").out == "nothing outstanding matches\n"
    assert not bad_rows(failed)
    assert {letter["state"] for letter in letters(failed)} == {"Discarded"}
    assert dlq(failed, "analyse").out == "no outstanding dead letter matches\n"


def test_what_fails_again_is_said(tmp_path):
    """Catches a replay that calls itself a success because it has published."""
    with running.Running(tmp_path, running.changed(sinks=running.only_warehouse())) as run:
        run.start()
        run.send(BAD)
        run.settled()
        said = dlq(run, "replay", "--max-replays", "1")
        assert (said.code, said.out) == (1, "12 put back: 0 landed, 12 failed again\n")
        assert "penstock dlq analyse" in said.err
        said = dlq(run, "replay", "--max-replays", "1")
        assert said.out == "nothing outstanding matches\n12 quarantined (a higher --max-replays frees them)\n"


def test_when_nothing_runs_letters_are_exported_and_a_replay_says_so(failed, tmp_path):
    """Catches an export without the event's own bytes, a replay that waits for nobody, a dry run that needs what it does not."""
    failed.pipeline.stop()
    said = dlq(failed, "export", str(tmp_path / "letters.ndjson"))
    assert (said.code, said.err) == (0, "12 exported\n")
    exported = [json.loads(line) for line in (tmp_path / "letters.ndjson").read_text().splitlines()]
    assert sorted(letter["original"]["id"] for letter in exported) == sorted(event["id"] for event in BAD * 2)
    assert {letter["category"] for letter in exported} == {"TransformFailed"}
    assert all("ten" in letter["message"] and letter["state"] == "Outstanding" for letter in exported)
    said = dlq(failed, "replay")
    assert said.code == 3
    assert "no pipeline runs in" in said.err
    assert "penstock run" in said.err
    assert dlq(failed, "discard", "--reason", "x").code == 3
    assert dlq(failed, "replay", "--dry-run").out == "12 would be put back\n"


@pytest.mark.timeout(600)
def test_killed_between_publish_and_marker_each_row_still_lands_once(failed):
    """kill -9 of the process that publishes, three times over the same twelve letters, in stretches of four.

    Catches a marker before its letter is published, a tail that is not looked at, and rows landed outside their identity.
    """
    failed.pipeline.stop()
    # Published and not marked; the marks made up for, and nothing more; the second stretch published and not marked.
    for step, count in (("publish", 1), ("mark", 1), ("publish", 2)):
        _replay_to_death(failed, step, count)
    failed.start()
    said = dlq(failed, "replay")
    assert (said.code, said.out.splitlines()[0]) == (0, "4 were put back before by a replay that was interrupted")
    running.until(lambda: bad_rows(failed) == ROWS or None, lambda: str(bad_rows(failed)))
    assert failed.settled().lanes[0].replays.letters == 12
    assert dlq(failed, "replay").out == "nothing outstanding matches\n"
    assert {letter["state"] for letter in letters(failed)} == {"Landed"}


def _replay_to_death(run: running.Running, step: str, count: int) -> None:
    script = str(pathlib.Path(__file__).with_name("replay_child.py"))
    doors = [f"--{door}=127.0.0.1:{number}" for door, number in run.pipeline.ports.items()]
    told = ["run", str(run.file), f"--data={run.pipeline.data.path}", *doors]
    with (run.path / "child.log").open("wb") as log:
        child = subprocess.Popen([sys.executable, script, step, str(count), *told], cwd=run.path, stderr=log)
    try:
        running.until(run.pipeline.status, (run.path / "child.log").read_text)
        said = dlq(run, "replay", "--rate", "4")
        # Before the first message nobody knows that there was anything to put back.
        assert (said.code, "nothing goes twice" in said.err) == (3, step == "publish")
        assert child.wait(timeout=running.PATIENCE_SECONDS) == -9
    finally:
        child.kill()
        child.wait()
