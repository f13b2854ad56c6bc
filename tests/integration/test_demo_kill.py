"""kill -9 of the pipeline in the middle of the main job: everything acknowledged still lands once, and the books balance.

Catches: an acknowledgement before the flush, an offset committed before its rows are durable, ranges landed outside the rows'
transaction, a duplicate judged differently after a restart, a dead letter written twice or not at all.
"""

from __future__ import annotations

import dataclasses
import random
import time

import pytest

from penstock.cli import demo, demo_run

RUNS = 4
KILLS_PER_RUN = 5
SETTLE_SECONDS = 240.0


@pytest.fixture(scope="module")
def flights():
    return demo_run.example("flights")


@pytest.fixture(scope="module")
def archive():
    return demo_run.example("archive").obtain()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, archive):
    return demo.prepare(tmp_path_factory.mktemp("demo"), archive)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(RUNS))
def test_killed_at_random_moments_the_main_job_still_ends_exactly_right(seed, tmp_path, prepared, flights, archive):
    """Five kills a run, at moments the seed gives, the start-up and the last commits among them."""
    events, expected = prepared
    rng = random.Random(seed)
    run = demo_run.DemoRun(tmp_path, events)
    try:
        run.start_pipeline()
        began = time.monotonic()
        run.start_sender()
        for _ in range(KILLS_PER_RUN):
            time.sleep(rng.uniform(0.0, 1.5))
            run.kill_pipeline()
            run.start_pipeline()
        status = _settled(run)
        landed = demo.answer(run, flights.QUERY)
        summary = demo_run.summarize(
            run, status, seconds=time.monotonic() - began, matches=landed == flights.answer_from_source(archive)
        )
        counted = run.query("SELECT count(*) AS n, count(DISTINCT (origin, time_hour, departure_no)) AS d FROM flights")
        letters = run.dead_letters()
    finally:
        run.close()
    found = dataclasses.asdict(summary)
    wanted = {name: getattr(expected, name) for name in ("rejected", "rows", "filtered", "written", "dead_lettered")}
    wanted |= {"unexplained": 0, "lost": 0, "query_matches": True}
    assert {name: found[name] for name in wanted} == wanted, run.log_tail("pipeline")
    assert counted.to_pylist() == [{"n": expected.written, "d": expected.written}]
    assert f"{expected.dead_lettered} dead letters" in letters


def _settled(run: demo_run.DemoRun):
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        status = run.status()
        if run.is_settled(status):
            return status
        assert time.monotonic() < deadline, run.log_tail("pipeline")
        time.sleep(0.2)
