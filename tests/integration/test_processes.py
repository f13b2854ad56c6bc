"""The pipeline as separate processes over a real broker: what a user has when more than one machine is needed."""

from __future__ import annotations

import pathlib
import signal
import time

import pytest
from tests.integration import processes, running

AWAY_SECONDS = 3.0
REBALANCE_SECONDS = 15.0
"""Starting the process included; a member that does not hear of a revocation costs 12 s more."""


@pytest.fixture
def site(kafka_server, tmp_path: pathlib.Path):
    with processes.Site(tmp_path, processes.pipeline(kafka_server.bootstrap)) as opened:
        yield opened


def test_three_processes_land_each_event_once_and_end_in_good_order(site: processes.Site) -> None:
    """Catches a wiring that `run` has and the roles lack, a readiness that comes too early, an end that leaves rows behind."""
    site.start()
    site.send(3_000)
    site.settle()
    assert [one.probe("livez") for one in site.all] == [200] * 3
    assert [one.stop() for one in site.all] == [0] * 3
    assert "ended in good order" in site.batchers[0].said()


def test_three_batchers_that_come_and_go_under_load_land_each_event_once(site: processes.Site) -> None:
    """One joins, one is killed, one leaves in good order, one is stopped for longer than the group waits and comes back.

    Catches rows of a revoked partition that are counted or written twice, a commit over a successor's, a process that halts
    because it came too late, books that do not add up over the processes.
    """
    site.start(batchers=2)
    with site.sending():
        first, second, third = *site.batchers, site.batcher().start()
        site.until_shared(first, second, third)
        second.signal(signal.SIGSTOP)
        site.until_shared(first, third)
        second.signal(signal.SIGCONT)
        site.until_shared(first, second, third)
        assert third.stop() == 0
        first.kill()
        site.until_shared(second)
    site.settle()


def test_each_process_killed_under_load_costs_nothing_but_time(site: processes.Site) -> None:
    """Catches an acknowledgement before the log has the event, and a lane or a store that forgets what it was doing."""
    site.start(batchers=2)

    def act(turn: int) -> None:
        victim = (site.doors, site.batchers[0], site.sink)[turn % 3]
        victim.kill()
        victim.start(wait=False)

    processes.while_sending(site, 3, 2_000, act)
    site.settle(resent=True)


def test_brokers_that_go_away_are_waited_for(site: processes.Site, kafka_server) -> None:
    """Catches a lane that halts, a process that ends, and a door that forgets or repeats what it was given."""
    site.start(batchers=2)
    site.send(2_000)
    kafka_server.broker.stop()
    try:
        time.sleep(AWAY_SECONDS)
        assert [lane.state for lane in site.lanes()] == ["Running"] * 2
    finally:
        kafka_server.broker.start()
    site.send(2_000)
    site.settle(resent=True)
    assert [one.process.poll() for one in site.all] == [None] * 4


def test_a_lane_that_is_held_keeps_its_partitions_and_the_group_goes_on_around_it(site: processes.Site) -> None:
    """Catches a paused lane that no longer polls: it would hold up every rebalance, and be put out of its group."""
    site.start(batchers=1)
    site.send(500)
    site.settle()
    held = site.batchers[0]
    said = running.command(site.path, "pause", "--at", held.address)
    assert (said.code, said.out) == (0, f"all lanes at {held.address}: Paused\n")
    site.send(1_000)
    began = time.monotonic()
    joined = site.batcher().start()
    site.until_shared(held, joined)
    assert time.monotonic() - began < REBALANCE_SECONDS
    assert len(held.partitions()) == processes.PARTITIONS // 2
    assert running.command(site.path, "resume", "--at", held.address).code == 0
    site.settle()
    shown = running.command(site.path, "top", "--once", "--every=0.05", *(f"--at={one.address}" for one in site.all))
    assert shown.code == 0, shown
    assert "1,500" in shown.out


def test_run_has_all_of_it_in_one_process_over_the_same_log(kafka_server, tmp_path: pathlib.Path) -> None:
    """Catches a data directory that is needed for what is in the log, and a second process that is refused."""
    text = processes.pipeline(kafka_server.bootstrap)
    with running.Running(tmp_path, text) as run:
        run.start()
        assert run.send(processes.event(number) for number in range(500)) == 500
        run.settled()
        run.pipeline.kill()
        run.start()
        assert run.send(processes.event(number) for number in range(400, 900)) == 500
        (lane,) = run.settled().lanes
        assert (lane.ledger.events_read, lane.ledger.events_duplicate, lane.ledger.rows_written) == (1_000, 100, 900)
        assert run.pipeline.stop() == 0
        assert run.landed("SELECT count(*), count(DISTINCT id) FROM orders") == [(900, 900)]
    refused = running.command(tmp_path, "batcher", str(run.file), "--sink=nope")
    assert (refused.code, "there are: warehouse" in refused.err) == (2, True)
