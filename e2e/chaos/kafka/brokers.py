"""Faults of the brokers: killed, stopped, deaf, one of three away, leaders and coordinators that move, a full disk."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator

from tests.servers import installed, kafka_cluster

from e2e.chaos import faults as machine_faults
from e2e.chaos import site as chaos_site
from e2e.chaos.kafka import admin, faults, proxy, site, stage
from e2e.checker import verdict
from penstock.cli import background
from penstock.log import port

_MIB = 1 << 20
_DISK_MIB = 256
_UP_SECONDS = 8.0


def _alone_or_not(alone: bool, told: stage.Stage, here: site.Site) -> None:
    if alone:
        here.start_alone()
        here.load(told.scale.rate, told.scale.events)
        here.go_on(int(told.scale.events * 0.1))
    else:
        faults.begin(told, here)


def killed(*, alone: bool) -> stage.Perform:
    """kill -9, and back after a few seconds."""

    def perform(told: stage.Stage) -> verdict.Verdict:
        told.how = f"{_whose(alone)}: the only broker killed and started again {told.scale.hold_seconds / 2:g} s later"
        with told.site() as here:
            _alone_or_not(alone, told, here)
            for _ in range(told.scale.rounds):
                told.servers.nodes[0].kill()
                time.sleep(told.scale.hold_seconds / 2)
                told.servers.nodes[0].start()
                told.times += 1
                here.recovered(time.monotonic())
                here.sample()
            return faults.rest(told, here)

    return perform


def _whose(alone: bool) -> str:
    return "`penstock run`" if alone else "separate processes"


def away(*, alone: bool) -> stage.Perform:
    """Nobody answers for a minute; everything waits and goes on by itself."""

    def perform(told: stage.Stage) -> verdict.Verdict:
        told.how = f"{_whose(alone)}: the only broker stopped for {told.scale.away_seconds:g} s"
        with told.site() as here:
            _alone_or_not(alone, told, here)
            told.servers.nodes[0].stop()
            time.sleep(told.scale.away_seconds)
            if ended := [one.name for one in here.all_members if not one.alive]:
                raise chaos_site.StuckError(f"ended while the broker was away: {ended}")
            told.servers.nodes[0].start()
            told.times += 1
            here.recovered(time.monotonic())
            return faults.rest(told, here)

    return perform


def deaf(told: stage.Stage) -> verdict.Verdict:
    """Connections stay open and nothing is answered, as behind a firewall that drops packets."""
    told.how = f"the only broker SIGSTOPped for {told.scale.zombie_seconds:g} s: connections stay open, nothing is answered"
    with told.site() as here:
        faults.begin(told, here)
        for _ in range(told.scale.rounds):
            told.servers.nodes[0].suspend()
            time.sleep(told.scale.zombie_seconds)
            told.servers.nodes[0].resume()
            told.times += 1
            here.recovered(time.monotonic())
        return faults.rest(told, here)


def cut_off(told: stage.Stage) -> verdict.Verdict:
    """One of two batchers alone can't reach the brokers, then not its sink: the group goes on without it, and with it again."""
    told.how = (
        f"through a proxy, each for {told.scale.zombie_seconds:g} s: one of two batchers gets nothing from the broker, nothing"
        " from its sink, its sink's answers half a second late each, and its connections cut"
    )
    with told.site() as here, contextlib.ExitStack() as stack:
        to_broker = told.servers.roundabout
        assert to_broker
        to_sink = stack.enter_context(proxy.Proxy(background.free_port()))
        to_sink.target = here.sink_port("warehouse")
        stack.callback(lambda: setattr(to_broker, "mood", proxy.Mood.PASSES))
        faults.begin(told, here, batchers=1)
        one = here.add_batcher("warehouse", brokers=[f"127.0.0.1:{to_broker.port}"], sink_port=to_sink.port)
        one.start()
        here.until_ready(one)
        for way, mood in (
            (to_broker, proxy.Mood.DEAF),
            (to_sink, proxy.Mood.DEAF),
            (to_sink, proxy.Mood.SLOW),
            (to_broker, proxy.Mood.CLOSED),
        ):
            way.mood = mood
            time.sleep(told.scale.zombie_seconds)
            here.sample()
            way.mood = proxy.Mood.PASSES
            told.times += 1
            here.recovered(time.monotonic())
        return faults.rest(told, here)


# -- three brokers


def _each(how: str, choose: Callable[[stage.Stage, site.Site], int], *, gentle: bool = False) -> stage.Perform:
    """One of three, chosen anew each time, ends and comes back; two are enough to go on meanwhile."""

    def perform(told: stage.Stage) -> verdict.Verdict:
        told.how = f"three brokers, three copies, two must have each block: {how}"
        with told.site() as here:
            faults.begin(told, here)
            for _ in range(told.scale.rounds):
                node = told.servers.nodes[choose(told, here) - 1]
                node.stop() if gentle else node.kill()
                here.recovered(time.monotonic())
                node.start()
                told.times += 1
                here.recovered(time.monotonic())
                _whole(told, here)
            return faults.rest(told, here)

    return perform


def _whole(told: stage.Stage, here: site.Site) -> None:
    """Wait until every partition has a leader that answers, so that the next one to go is one of three again."""

    def look() -> bool | None:
        with contextlib.suppress(port.LogError, OSError):
            here.logbook.lag("warehouse")
            return True
        return None

    here.until(look)
    time.sleep(_UP_SECONDS / 2)


def _leader(told: stage.Stage, here: site.Site) -> int:
    return admin.leaders(told.servers.bootstrap, f"{here.prefix}.events")[0]


def _coordinator(told: stage.Stage, here: site.Site) -> int:
    return admin.coordinator(told.servers.bootstrap, f"{here.prefix}.chaos/{here.name}/warehouse.events")


def rolled(told: stage.Stage) -> verdict.Verdict:
    """As an upgrade of the brokers does it: each stopped in good order and started, one after the other."""
    told.how = "three brokers, three copies, two must have each block: each stopped and started, one after the other"
    with told.site() as here:
        faults.begin(told, here)
        for node in told.servers.nodes:
            node.stop()
            node.start()
            told.times += 1
            here.recovered(time.monotonic())
            _whole(told, here)
        return faults.rest(told, here)


def one_away(told: stage.Stage) -> verdict.Verdict:
    """Started, and at work all the time, with two of three; the third comes back at the end."""
    told.how = "three brokers, three copies, two must have each block: one is away from the start, and comes back under load"
    with told.site() as here:
        # Topics are made while all three are there: none of three copies can be put on a broker that is away.
        faults.begin(told, here)
        node = told.random.choice(told.servers.nodes)
        node.kill()
        time.sleep(1.0)
        for one in here.all_members:
            one.kill()
        for one in here.all_members:
            one.start()
        here.recovered(time.monotonic())
        told.times += 1
        here.go_on(told.scale.events // 3)
        node.start()
        here.recovered(time.monotonic())
        return faults.rest(told, here)


def two_away(told: stage.Stage) -> verdict.Verdict:
    """One copy is not enough: nothing is acknowledged, nothing ends, and it goes on when a second one is back."""
    told.how = f"three brokers, three copies, two must have each block: two killed for {told.scale.hold_seconds:g} s"
    with told.site() as here:
        faults.begin(told, here)
        gone = told.random.sample(list(told.servers.nodes), 2)
        for node in gone:
            node.kill()
        time.sleep(told.scale.hold_seconds)
        for node in gone:
            node.start()
        told.times += 1
        here.recovered(time.monotonic())
        return faults.rest(told, here)


# -- the brokers' disk


def disk_full(told: stage.Stage) -> verdict.Verdict:
    """A broker that can't write ends itself; with room again it is started, and everything goes on."""
    told.how = f"the broker's data on a tmpfs of {_DISK_MIB} MiB, filled to the last byte: it ends, is given room and started"
    place = told.path / "disk"
    with machine_faults.small_disk(place, _DISK_MIB) as mounted:
        if not mounted:
            raise chaos_site.StuckError("no small file system can be mounted here (needs root)")
        with kafka_cluster.Cluster(installed.found(), place, 1) as cluster:
            told.servers = dataclasses.replace(
                told.servers, nodes=[cluster.nodes[0].server], bootstrap=cluster.bootstrap, replication=1
            )
            with told.site() as here:
                faults.begin(told, here)
                with _filled(place):
                    here.until(lambda: not told.servers.nodes[0].running or None)
                told.servers.nodes[0].start()
                told.times += 1
                here.recovered(time.monotonic())
                return faults.rest(told, here)


@contextlib.contextmanager
def _filled(place: pathlib.Path) -> Iterator[None]:
    """Meanwhile there is not a byte left on this disk."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(min(_MIB, max(4096, shutil.disk_usage(place).free))))
    try:
        yield
    finally:
        ballast.unlink()


KILLED = stage.Fault(row=4, name="broker killed", perform=killed(alone=False))
AWAY = stage.Fault(row=5, name="broker away", perform=away(alone=False))
EACH = [
    KILLED,
    stage.Fault(row=4, name="broker killed: run", perform=killed(alone=True)),
    AWAY,
    stage.Fault(row=5, name="broker away: run", perform=away(alone=True)),
    stage.Fault(row=7, name="broker deaf", perform=deaf),
    stage.Fault(row=7, name="one batcher cut off", perform=cut_off),
    stage.Fault(row=13, name="disk full: broker", perform=disk_full),
]
THREE = [
    stage.Fault(row=4, name="leader killed", brokers=3, perform=_each("the busiest leader killed and started", _leader)),
    stage.Fault(row=4, name="rolling restart of brokers", brokers=3, perform=rolled),
    stage.Fault(row=4, name="one broker of three away", brokers=3, perform=one_away),
    stage.Fault(row=5, name="two brokers of three away", brokers=3, perform=two_away),
    stage.Fault(
        row=6, name="coordinator killed", brokers=3, perform=_each("the group's coordinator killed and started", _coordinator)
    ),
]
