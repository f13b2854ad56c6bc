"""One of each kind on one pipeline, one after the other: the short form, for each change."""

from __future__ import annotations

import signal
import time

from e2e.chaos.kafka import brokers, faults, stage, stream
from e2e.checker import verdict


def in_turn(told: stage.Stage) -> verdict.Verdict:
    """A door, a batcher that comes back as a zombie, the sink, another batcher, the broker."""
    told.how = "a door, a sink and a batcher killed at points, a zombie batcher, the broker killed"
    with told.site(stream.Mix(rejected=300, failing=100)) as here:
        faults.begin(told, here)
        first, second = here.batchers["warehouse"]
        first.signal(signal.SIGSTOP)
        frozen = time.monotonic()
        faults.die_at(told, here, here.doors[0], told.random.choice(faults.INGEST_POINTS))
        faults.die_at(told, here, here.sinks["warehouse"], told.random.choice(faults.SINK_POINTS))
        time.sleep(max(0.0, told.scale.zombie_seconds - (time.monotonic() - frozen)))
        first.signal(signal.SIGCONT)
        here.recovered(time.monotonic())
        faults.die_at(told, here, second, told.random.choice(faults.BATCHER_POINTS))
        here.have_sampled()
        told.servers.nodes[0].kill()
        time.sleep(told.scale.hold_seconds)
        told.servers.nodes[0].start()
        here.recovered(time.monotonic())
        told.times += 2
        return faults.rest(told, here)


IN_TURN = stage.Fault(row=3, name="one of each kind in turn", perform=in_turn)
AWAY = brokers.AWAY
ONE_SINK = faults.ONE_SINK
