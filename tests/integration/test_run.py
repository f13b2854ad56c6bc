"""`penstock run` as a user has it: events in by both doors, rows in two stores, and whatever may end the process in between."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import pathlib
import random
import re
import signal
import stat
import threading
import time
from collections import Counter

import pytest
from tests.integration import running

from penstock.api import load
from penstock.log import port
from penstock.log.embedded import front as embedded
from penstock.machine import directory, secrets, service
from penstock.machine.parts import upkeep
from penstock.v1 import ingest_pb2

EVENTS_METRIC = 'penstock_lane_events_total{{namespace="shop",outcome="{}",pipeline="orders",sink="{}"}}'
ROWS_METRIC = 'penstock_lane_rows_total{{namespace="shop",outcome="{}",pipeline="orders",sink="{}"}}'
_NO_SECRETS = secrets.SecretStore(pathlib.Path("secrets"), {}, ())
SLOW_BATCHES = {"static": {"rows": 5000, "lingerMilliseconds": 60_000}, "limits": {"lingerMilliseconds": 60_000}}


def items(*numbers: int) -> list[tuple[str, int | None]]:
    """The rows that the events of these numbers make in the warehouse, as `Running.landed` tells them."""
    made = [(f"e{number}", item) for number in numbers for item in running.event(number)["items"] or [None]]
    return sorted(made, key=lambda row: (row[0], row[1] is None, row[1]))


def even(*numbers: int) -> list[tuple[str, int]]:
    """Those of them that the archive takes."""
    return [(name, item) for name, item in items(*numbers) if item is not None and item % 2 == 0]


def archived(run: running.Running) -> list[tuple[str, int]]:
    return sorted((row["id"], row["item"]) for row in run.archived().select(["id", "item"]).to_pylist())


def test_a_signal_lands_what_was_acknowledged_and_the_next_start_goes_on(tmp_path: pathlib.Path) -> None:
    """Three runs over one directory, each ended while its rows wait for a batch of a minute.

    Catches a drain that leaves rows behind, a signal that is not heard, a ledger or a deduplication window that starts anew.
    """
    slow = [sink | {"batching": SLOW_BATCHES} for sink in running.sinks()]
    with running.Running(tmp_path, running.changed(sinks=slow)) as run:
        for turn, number in enumerate((signal.SIGINT, signal.SIGTERM, signal.SIGINT)):
            run.start()
            first = turn * 100
            assert run.send(running.event(n) for n in range(max(0, first - 20), first + 60)) == 80 - 20 * (not turn)
            over_grpc = ingest_pb2.PublishRequest(
                sequence=9, ndjson=running.ndjson(running.event(n) for n in range(first + 40, first + 100))
            )
            assert run.publish(over_grpc).accepted == 60
            assert run.pipeline.stop(number) == 0
            assert run.said.count("drained: everything accepted has landed") == turn + 1
            assert run.landed() == items(*range(first + 100))
            assert archived(run) == even(*range(first + 100))
        ledger = run.start().settled().lanes[0].ledger
    assert (ledger.events_read, ledger.events_duplicate, ledger.rows_written) == (400, 100, len(items(*range(300))))


def test_a_second_signal_exits_at_once_and_nothing_is_lost(tmp_path: pathlib.Path) -> None:
    """A store that is away keeps the drain from ending. Catches a drain that can't be hurried, and rows it gave up."""
    with running.Running(tmp_path) as run:
        run.start().send([running.event(1)])
        run.settled()
        (tmp_path / "archive").rename(tmp_path / "away")
        (tmp_path / "archive").write_text("not a directory")
        run.send(running.event(n) for n in range(2, 40))
        process = run.pipeline.process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        running.until(lambda: "draining:" in run.said or None)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=running.PATIENCE_SECONDS) == 130
        assert "stopped at once: the next start goes on from here" in run.said
        (tmp_path / "archive").unlink()
        (tmp_path / "away").rename(tmp_path / "archive")
        run.start().settled()
        assert (run.landed(), archived(run)) == (items(*range(1, 40)), even(*range(1, 40)))


@pytest.mark.timeout(240)
def test_killed_at_random_moments_both_stores_hold_each_row_once(tmp_path: pathlib.Path) -> None:
    """Ten kills: while it starts, while it lands, while it is asked. Two partitions, keys, duplicates, explode, failing rows.

    Catches an acknowledgement before the flush, an offset before its rows, a file named twice, a window forgotten, a letter
    written twice.
    """
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - to run it again
    rng = random.Random(seed)
    sent = 0
    with running.Running(tmp_path) as run:
        for kill in range(10):
            if kill % 3 == 2:
                run.pipeline.spawn()
                time.sleep(rng.uniform(0.3, 2.0))  # somewhere in its start-up: nothing can be seen of it yet
            else:
                run.start()
                for _ in range(rng.randrange(1, 6)):
                    again = [rng.randrange(sent + 1) for _ in range(10)]
                    fresh = range(sent, sent + rng.randrange(1, 150))
                    events = [running.event(n, note=_note(n)) for n in (*again, *fresh)]
                    assert run.send(events) == len(events)
                    sent = fresh.stop
            run.pipeline.kill()
        run.start()
        status = run.settled()
        good = [n for n in range(sent) if n % 50 != 49]
        assert Counter(run.landed()) == Counter(items(*good))
        assert Counter(archived(run)) == Counter(even(*good))
        bad_rows = len(items(*(n for n in range(sent) if n % 50 == 49)))
        assert [lane.ledger.rows_dead_lettered for lane in status.lanes] == [bad_rows] * 2
        letters = run.command("dlq", "ls", "--limit=10000", "-o", "json", "--data=data").out.splitlines()
        assert len(letters) == len({json.loads(line)["id"] for line in letters}) == 2 * bad_rows
        assert run.pipeline.stop() == 0


def _note(number: int) -> str:
    """What the transform can't read as a number in every fiftieth event."""
    return "seven" if number % 50 == 49 else str(number)


def test_what_another_process_holds_is_named_in_one_line(tmp_path: pathlib.Path) -> None:
    """Catches two writers on one log or store, a port shared or not named, and a traceback for any of them."""
    with running.Running(tmp_path / "first") as first:
        first.start()
        assert first.pipeline.process is not None
        pid = first.pipeline.process.pid
        (tmp_path / "store").mkdir()
        (tmp_path / "store" / "orders.duckdb").symlink_to(tmp_path / "first" / "orders.duckdb")
        (tmp_path / "store" / "archive").symlink_to(tmp_path / "first" / "archive")
        file, free = "../first/pipeline.yaml", dict.fromkeys(("http", "grpc", "metrics"), "127.0.0.1:0")

        def run(data: str, **doors: str) -> list[str]:
            return ["run", file, f"--data={data}", *(f"--{door}={address}" for door, address in (free | doors).items())]

        taken = {door: f"127.0.0.1:{port}" for door, port in first.pipeline.ports.items()}
        own = ["--sink=warehouse=duckdb:mine.duckdb", "--sink=archive=files:mine"]
        said = running.commands(
            tmp_path / "store",
            [
                run("../first/data"),
                run("held"),
                [*run("ports", http=taken["http"]), *own],
                [*run("ports", metrics=taken["metrics"]), *own],
                run("/proc/penstock"),
                run(file),
                run("nonsense", http="nonsense"),
            ],
        )
        second = running.Running(tmp_path / "second")
        second.pipeline.ports["grpc"] = first.pipeline.ports["grpc"]
        said.append(second.refused())
        errors = [[line for line in one.err.splitlines() if not line.startswith("{")] for one in said]
        assert [one.code for one in said] == [1, 3, 3, 3, 3, 3, 2, 3]
        assert [len(lines) for lines in (*errors[:6], errors[7])] == [1, 2, 1, 1, 1, 1, 1], errors
        assert f"process {pid}" in errors[0][0]
        assert f"PID {pid}" in errors[1][0]
        named = zip(("http", "metrics", "grpc"), (errors[2], errors[3], errors[7]), strict=True)
        assert [taken[door] in lines[0] for door, lines in named] == [True] * 3, errors
        assert first.send([running.event(1)]) == 1
        first.settled()


def test_a_path_too_long_for_a_socket_and_files_only_their_owner_reads(tmp_path: pathlib.Path) -> None:
    """Catches a socket path that the kernel cuts, and events that any user of the machine can read."""
    long = tmp_path / ("a" * 120)
    with running.Running(long) as run:
        run.pipeline.data.path.mkdir(mode=0o755)
        run.start().send([running.event(1)])
        run.settled()
        assert run.command("top", "--once", "--data=data").code == 0
        files = [path for path in run.pipeline.data.path.iterdir() if path.is_file()]
        assert {path.name for path in files} >= {"log.db", "pipeline.json"}
        assert [path.name for path in files if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
        assert run.pipeline.stop() == 0


def test_edits_at_a_restart_are_judged_by_what_is_unread(tmp_path: pathlib.Path) -> None:
    """Catches an edit that the log could not survive, one refused without need, and a renamed sink that lands all again."""
    paused = running.only_warehouse(lifecycle="Paused")
    with running.Running(tmp_path, running.changed(sinks=paused)) as run:
        run.start().send(running.event(n) for n in range(8))
        assert run.pipeline.stop() == 0
        renamed = running.only_warehouse(name="shop", renamedFrom="warehouse")
        fields = running.msgspec.yaml.decode(running.PIPELINE)["spec"]["schema"]["fields"]
        required = [*fields, {"name": "more", "type": "String", "required": True}]
        by_id = {"source": {"type": "Ingest", "ingest": {"partitionBy": ["id"]}}, "deduplicate": {"key": ["id"]}}
        forbidden = {
            "spec.deduplicate.key": {"deduplicate": {"key": ["customer"]}},
            "spec.source.ingest.partitionBy": by_id,
            "spec.schema.fields[5]": {"schema": {"fields": required}},
            "spec.sinks[0].name": {"sinks": renamed},
        }
        for number, edit in enumerate(forbidden.values()):
            (tmp_path / f"{number}.yaml").write_text(running.changed(**({"sinks": paused} | edit)))
        said = running.commands(tmp_path, [["run", f"{number}.yaml", "--data=data"] for number in range(len(forbidden))])
        for field, refused in zip(forbidden, said, strict=True):
            assert (refused.code, field in refused.err, "drain" in refused.err) == (1, True, True), refused
        optional = [field for field in fields if field["name"] != "region"] + [{"name": "more", "type": "String"}]
        select = [{"name": "id"}, {"name": "item"}]
        allowed = {"schema": {"fields": optional}, "transform": {"explode": {"field": "items", "as": "item"}, "select": select}}
        run.start(running.changed(sinks=running.only_warehouse(), **allowed)).send([running.event(8)])
        run.settled()
        assert run.pipeline.stop() == 0
        status = run.start(running.changed(sinks=renamed, **allowed)).settled()
        assert status.lanes[0].ledger.events_read == 9
        run.send([running.event(8), running.event(9)])
        run.settled()
        assert "sink warehouse is now shop" in run.said
        assert run.landed() == items(*range(10))


def test_lifecycles_hold_the_sink_the_start_or_the_doors(tmp_path: pathlib.Path) -> None:
    """Catches a paused sink that lands or that holds up the end, one that never resumes, and Draining that never ends."""
    both = running.sinks()
    with running.Running(tmp_path, running.changed(sinks=[both[0], both[1] | {"lifecycle": "Paused"}])) as run:
        run.start().send(running.event(n) for n in range(8))
        running.until(lambda: run.status().lanes[0].ledger.rows_written == len(items(*range(8))) or None)
        assert [lane.state for lane in run.status().lanes] == ["Running", "Paused"]
        began = time.monotonic()
        assert run.pipeline.stop() == 0
        assert time.monotonic() - began < 20, "30 seconds is what a drain may take"
        assert "stopped: the next start goes on from here" in run.said
        assert not list((tmp_path / "archive").rglob("*.parquet"))
        assert run.refused(running.changed(lifecycle="Stopped")).code == 0
        said = run.refused(running.changed(lifecycle="Draining"))
        assert (said.code, "drained: everything" in said.err) == (0, True)
        assert archived(run) == even(*range(8))


def test_the_counters_equal_the_ledger_and_have_the_documented_names(tmp_path: pathlib.Path) -> None:
    """Catches a metric that is not there or not documented, one that counts otherwise, and a label with values without end."""
    text = pathlib.Path(__file__).parents[2].joinpath("docs/reference/metrics.md").read_text()
    documented = {name.removesuffix("_total") for name in re.findall(r"^\| `(penstock_\w+)` \|", text, re.MULTILINE)}
    with running.Running(tmp_path) as run:
        run.start()
        counted = len(run.metrics())
        for turn in range(3):
            run.send(running.event(n, note="drop" if n % 5 == 0 else None) for n in range(turn * 40, turn * 50 + 50))
            run.post(b'{"id":1}\nnope\n')
        status = run.settled()
        samples = running.until(
            lambda: _when(run.metrics(), ROWS_METRIC.format("written", "archive"), status.lanes[1].ledger.rows_written)
        )
        for lane in status.lanes:
            ledger, sink = lane.ledger, lane.sink
            told = {"read": ledger.events_read, "duplicate": ledger.events_duplicate, "transformed": ledger.events_transformed}
            assert {outcome: samples[EVENTS_METRIC.format(outcome, sink)] for outcome in told} == told
            rows = {"made": ledger.rows_made, "filtered": ledger.rows_filtered, "written": ledger.rows_written}
            rows["other_lanes"] = ledger.rows_other_lanes
            assert {outcome: samples[ROWS_METRIC.format(outcome, sink)] for outcome in rows} == rows
        names = {re.sub(r"_(total|bucket|sum|count|created)$", "", sample.partition("{")[0]) for sample in samples}
        # What nothing has happened to has no sample.
        assert {name for name in names if name.startswith("penstock_")} <= documented
        quiet = "state_|sink_(pool|queue|stage)_|dead_letters|dropped_events|suspects|retries|write_timeouts"
        quiet += "|ingest_refusals|landing_ratio|retry_budget|hedges|lane_retention|operator_"
        assert not [name for name in documented - names if not re.match(f"penstock_({quiet})", name)]
        run.send(running.event(n) for n in range(1000, 1400))
        run.settled()
        assert len(run.metrics()) - len(samples) < 20 < counted
        assert run.pipeline.stop() == 0


def _when(samples: dict[str, float], name: str, value: float) -> dict[str, float] | None:
    return samples if samples.get(name) == value and any(one.startswith("penstock_log_bytes") for one in samples) else None


def test_logs_are_json_lines_and_never_hold_what_was_sent(tmp_path: pathlib.Path) -> None:
    """Catches an event's bytes or a secret in a log line, and lines that a log collector can't read."""
    with running.Running(tmp_path) as run:
        secret = "hunter2-and-more"
        run.start()
        run.send([running.event(n, note=secret) for n in range(10)])
        run.post(running.ndjson([{"id": secret, "customer": secret}]))
        run.post(secret.encode(), "application/json")
        run.settled()
        run.status()
        run.pipeline.kill()
        run.start()
        assert run.pipeline.stop() == 0
        assert secret not in run.said
        spoken = re.compile(r"^(\{.*\}|shop/orders runs.*|  (events|metrics|next) .*|draining: .*|drained: .*)$")
        strange = [line for line in run.said.splitlines() if not spoken.match(line)]
        assert strange == []
        events = [json.loads(line) for line in run.said.splitlines() if line.startswith("{")]
        assert all({"event", "level", "time", "logger"} <= set(one) for one in events)


def test_commands_answer_with_their_exit_codes_and_in_few_lines(tmp_path: pathlib.Path) -> None:
    """Against a running pipeline, a stopped one and none. Catches a traceback, and an error that says no way on."""
    with running.Running(tmp_path) as run:
        run.start().send([running.event(n, note="seven" if n == 5 else None) for n in range(10)])
        run.settled()
        to, data = f"--to=127.0.0.1:{run.pipeline.ports['grpc']}", "--data=data"
        (tmp_path / "more.ndjson").write_bytes(running.ndjson(running.event(n) for n in range(20)))
        (tmp_path / "bad.ndjson").write_bytes(running.ndjson([running.event(1), {"id": 7}]))
        count = "SELECT count(*) AS n FROM orders"
        always = [
            ["dlq", "ls", data],
            ["query", count, data],
            ["query", "SELECT nope FROM orders", data],
            ["dlq", "show", "0000", data],
        ]
        alive = running.commands(
            tmp_path, [*always, ["top", "--once", data], ["send", "more.ndjson", to], ["send", "bad.ndjson", to, "-o", "json"]]
        )
        assert [one.code for one in alive] == [0, 0, 1, 1, 0, 0, 1], alive
        assert run.pipeline.stop() == 0
        quick = ["--give-up-after=0.2"]
        dead = running.commands(
            tmp_path,
            [
                *always,
                ["top", "--once", data],
                ["send", "more.ndjson", to, *quick],
                ["top", "--data=nowhere"],
                ["query", count, "--data=nowhere"],
                ["dlq", "ls", "--data=nowhere"],
                ["validate", "pipeline.yaml"],
                ["validate", "nowhere.yaml"],
                ["infer", "more.ndjson"],
                ["infer", "pipeline.yaml"],
                ["test", "pipeline.yaml", "more.ndjson"],
                ["test", "pipeline.yaml", "bad.ndjson"],
                ["nope"],
            ],
        )
        assert [one.code for one in dead] == [0, 0, 1, 1, 3, 3, 3, 3, 3, 0, 2, 0, 1, 0, 1, 2], dead
        failed = [one for one in alive + dead if one.code]
        assert [one for one in failed if len(one.err.splitlines()) > 12 or not one.err + one.out] == []


def test_five_starts_in_one_process_leave_nothing_open(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a descriptor, a thread, a task or a socket that outlives its machine."""
    monkeypatch.chdir(tmp_path)
    pipeline = load.load_one(running.PIPELINE)
    addresses = service.Addresses(grpc="127.0.0.1:0", http="127.0.0.1:0", metrics="127.0.0.1:0")
    where = directory.DataDirectory(tmp_path / "data")

    async def once() -> tuple[int, int, set[str]]:
        machine = service.Machine(pipeline, service.everything(pipeline, where), addresses, _NO_SECRETS, where)
        await machine.start()
        await machine.status()
        assert await machine.drain(10.0)
        await machine.close()
        await asyncio.sleep(0)
        tasks = {str(task.get_name()) for task in asyncio.all_tasks() if task is not asyncio.current_task()}
        # The loop's own pool grows as it is used, and goes with the loop.
        threads = [thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]
        return len(os.listdir("/proc/self/fd")), len(threads), tasks

    async def cycles() -> list[tuple[int, int, set[str]]]:
        return [await once() for _ in range(5)]

    seen = asyncio.run(cycles())
    assert [tasks for _, _, tasks in seen] == [set()] * 5
    descriptors, threads, _ = zip(*seen, strict=True)
    assert max(descriptors[2:]) <= max(descriptors[:2])
    assert max(threads[2:]) <= max(threads[:2])
    assert not list((tmp_path / "data").glob("*.sock"))


async def test_a_chore_that_fails_is_done_again(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a task that ends unnoticed at its first failure: gauges that stand still, a log that is never trimmed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(upkeep, "REPORT_SECONDS", 0.001)
    asked = asyncio.Event()
    answers = itertools.chain([port.LogError("not now")] * 5, itertools.repeat(7))

    async def size_bytes(_: embedded.EmbeddedLog) -> int:
        answer = next(answers)
        if isinstance(answer, port.LogError):
            raise answer
        asked.set()
        return answer

    monkeypatch.setattr(embedded.EmbeddedLog, "size_bytes", size_bytes)
    addresses = service.Addresses(grpc="127.0.0.1:0", http="127.0.0.1:0", metrics="127.0.0.1:0")
    pipeline, where = load.load_one(running.PIPELINE), directory.DataDirectory(tmp_path / "data")
    machine = service.Machine(pipeline, service.everything(pipeline, where), addresses, _NO_SECRETS, where)
    await machine.start()
    async with asyncio.timeout(running.PATIENCE_SECONDS):
        await asked.wait()
    await machine.close()
