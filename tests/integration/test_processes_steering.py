"""Several processes of a pipeline steered from outside: skip, drain, and what a halted lane does meanwhile."""

from __future__ import annotations

import pathlib

import confluent_kafka
import msgspec
import pytest
from tests.integration import processes, running

from penstock.cli import control
from penstock.v1 import control_pb2


@pytest.fixture
def site(kafka_server, tmp_path: pathlib.Path):
    with processes.Site(tmp_path, processes.pipeline(kafka_server.bootstrap)) as opened:
        yield opened


def _spoil(bootstrap: str, topic: str, partition: int) -> None:
    """Append what is no block, by its value, and by its headers too."""
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap})
    producer.produce(topic, b"nonsense", partition=partition, headers={"penstock-producer": b"x", "penstock-sequence": b"0"})
    producer.produce(topic, b"nonsense", partition=partition)
    assert producer.flush(30) == 0


def _lane(process: processes.Process) -> control_pb2.LaneStatus:
    return running.until(process.lane, process.said)


def _told(process: processes.Process, lifecycle: str) -> None:
    with control.connected(process.address) as stub:
        stub.SetLifecycle(control_pb2.SetLifecycleRequest(lifecycle=lifecycle), timeout=30)


def test_a_block_that_stops_one_of_two_processes_is_skipped_by_the_one_that_has_it(site: processes.Site, kafka_server) -> None:
    """Catches a skip that commits for a group which has members, one that a process does for another's partition, a neighbour
    that stops too, a halted process that polls no more, so that the group can't share anew, one that stays halted over
    what is another's now, and a status that is not told because of a record in the log."""
    site.start(batchers=1)
    (first,) = site.batchers
    site.send(500)
    site.settle()
    stuck = 2
    topic = f"shop.{msgspec.yaml.decode(site.file.read_text())['metadata']['name']}.events"
    _spoil(kafka_server.bootstrap, topic, stuck)
    running.until(lambda: True if _lane(first).state == "Halted" else None, first.said)
    second = site.batcher().start()
    site.until_shared(first, second)
    owner, other = (first, second) if stuck in first.partitions() else (second, first)
    running.until(lambda: True if (_lane(owner).state, _lane(other).state) == ("Halted", "Running") else None, site.said)
    refused = running.command(site.path, "skip", "warehouse", "-f", str(site.file), "--yes")
    assert (refused.code, "only they may do that" in refused.err) == (1, True), refused
    elsewhere = running.command(site.path, "skip", "warehouse", f"--at={other.address}", "--yes")
    assert elsewhere.code == 1, elsewhere
    asked = ("skip", "warehouse", f"--at={other.address},{owner.address}")
    skipped = running.command(site.path, *asked, "--yes")
    assert (skipped.code, f"partition {stuck}: skipped" in skipped.out) == (0, True), skipped
    site.send(500)
    running.until(lambda: True if len(site.landed()) == 1_000 else None, site.said)
    assert site.landed() == list(range(1_000))
    running.until(lambda: True if sum(lane.ledger.events_lost for lane in site.lanes()) == 2 else None, site.said)
    assert {lane.state for lane in site.lanes()} == {"Running"}


def test_a_pipeline_drains_over_all_of_its_processes(site: processes.Site) -> None:
    """Catches doors that go on taking events, a process that ends instead of saying that it is done, a roll-out with a file that
    says Draining and never gets ready, and a lane that can't be told to go on."""
    site.start(batchers=2)
    site.send(1_000)
    for process in site.all:
        if process is not site.sink:
            _told(process, "Draining")
    running.until(lambda: True if {lane.state for lane in site.lanes()} == {"Drained"} else None, site.batchers[0].said)
    site.settle()
    assert [one.probe("readyz") for one in site.all] == [200] * 4
    assert running.until(site.doors.status, site.doors.said).lifecycle == "Drained"
    assert site.answer([1]) == 503
    with control.connected(site.doors.address) as stub, pytest.raises(Exception, match="restart the process"):
        stub.SetLifecycle(control_pb2.SetLifecycleRequest(lifecycle="Running"), timeout=30)
    site.doors.stop()
    described = msgspec.yaml.decode(site.file.read_text())
    site.file.write_bytes(msgspec.yaml.encode({**described, "spec": {**described["spec"], "lifecycle": "Draining"}}))
    site.doors.start()
    assert site.answer([1]) == 503
    for process in site.batchers:
        _told(process, "Running")
    assert {lane.state for lane in site.lanes()} == {"Running"}


def test_a_process_with_an_edit_that_unread_events_forbid_waits_until_they_are_read(site: processes.Site) -> None:
    """Catches doors that partition the next events by another key, and lanes that judge the unread ones by another key."""
    site.start()
    (batcher,) = site.batchers
    _told(batcher, "Paused")
    site.send(300)
    site.doors.stop()
    described = msgspec.yaml.decode(site.file.read_text())
    described["spec"]["deduplicate"] = {"key": ["id"]}
    described["spec"]["source"]["ingest"]["partitionBy"] = ["id"]
    site.file.write_bytes(msgspec.yaml.encode(described))
    site.doors.start(wait=False)
    running.until(lambda: True if "drain first" in site.doors.why_not_ready() else site.doors.check_alive(), site.said)
    _told(batcher, "Running")
    running.until(lambda: True if site.doors.probe("readyz") == 200 else site.doors.check_alive(), site.said)
    batcher.stop()
    batcher.start()
    site.send(300)
    site.settle()
