"""Faults of the processes: killed at each step, frozen past the group's patience, coming and going, clocks that jump."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

from e2e.chaos import site as chaos_site
from e2e.chaos.kafka import members, site, stage, store, stream
from e2e.checker import verdict

_DEATH_SECONDS = 120.0
_HOUR_SECONDS = 3600.0
_EARLY = 0.1
"""Of the events, before the first fault."""
INGEST_POINTS = ("ingest.composed", "ingest.appended")
BATCHER_POINTS = (
    "lane.polled",
    "lane.decoded",
    "lane.judged",
    "lane.transformed",
    "lane.dispatched",
    "lane.answered",
    "lane.lettered",
    "lane.committing",
    "lane.committed",
)
SINK_POINTS = ("postgres.copied", "postgres.locked", "postgres.inserted", "postgres.journalled", "postgres.committed")
_ONE_SINK_POINTS = {"warehouse": ("postgres.inserted", "postgres.committed", ""), "shelf": ("clickhouse.answered", "")}
_RARE = frozenset({"lane.lettered", "lane.committing", "lane.committed"})


def begin(told: stage.Stage, here: site.Site, *, doors: int = 2, batchers: int = 2) -> None:
    """All processes, the load, and the first events."""
    here.start(doors=doors, batchers=batchers)
    here.load(told.scale.rate, told.scale.events)
    here.go_on(int(told.scale.events * _EARLY))


def rest(told: stage.Stage, here: site.Site) -> verdict.Verdict:
    """What is left of the load, as fast as it goes, and the judgement."""
    here.hurry()
    here.go_on_to(told.scale.events)
    here.sample()
    return here.judge()


def none(told: stage.Stage) -> verdict.Verdict:
    """Loss in good times would be loss too."""
    with told.site() as here:
        begin(told, here)
        told.times += 1
        here.hurry()
        began, before = time.monotonic(), here.told.acknowledged
        here.go_on_to(told.scale.events)
        here.unload()
        here.settle()
        landed = (here.told.acknowledged - before) / (time.monotonic() - began)
        told.how = (
            "nothing happens: two doors, two batchers and a sink for Postgres, as in all of these unless they say otherwise;"
            f" as fast as they go, {landed:,.0f} events a second are acknowledged and landed"
        )
        here.sample()
        return here.judge()


def die_at(told: stage.Stage, here: site.Site, one: members.Member, point: str) -> float:
    """Start it anew so that it dies at the point, wait for that, and start it as it should be; when it died."""
    if point:
        one.stop()
        one.start(f"{point}=kill@{told.random.randint(1, 2 if point in _RARE or told.scale.kills == stage.SHORT.kills else 6)}")
        if not one.died_within(_DEATH_SECONDS):
            raise chaos_site.StuckError(f"{point} was not reached:\n{one.tail()}")
    one.kill()
    died = time.monotonic()
    told.times += 1
    one.start()
    here.sample_meanwhile()
    return died


def some(told: stage.Stage, points: Sequence[str]) -> Sequence[str]:
    """A third of them, such that three seeds that follow each other have all; in the short form one."""
    chosen = points[told.seed % 3 :: 3]
    return chosen if told.scale.kills > stage.SHORT.kills else [told.random.choice(chosen)]


def ingest_killed(told: stage.Stage) -> verdict.Verdict:
    """Between composing and producing, between produce and answer, and at any moment."""
    points = ("", *INGEST_POINTS) * told.scale.kills
    told.how = f"one of two doors killed at {', '.join(INGEST_POINTS)} and at any moment, in turn"
    with told.site() as here:
        begin(told, here)
        for number, point in enumerate(points[: 3 * told.scale.kills]):
            time.sleep(told.random.uniform(0.0, 0.5))
            died = die_at(told, here, here.doors[number % 2], point)
        here.recovered(died)
        return rest(told, here)


def batcher_killed(told: stage.Stage) -> verdict.Verdict:
    """At each step from the log to the commit. The other one goes on, and takes over when the group gives this one up."""
    points = some(told, BATCHER_POINTS)
    told.how = f"one of two batchers killed at three of {', '.join(BATCHER_POINTS)}, with each seed at other ones"
    with told.site(stream.Mix(failing=20, rejected=20)) as here:
        begin(told, here)
        for number, point in enumerate(points):
            here.recovered(die_at(told, here, here.batchers["warehouse"][number % 2], point))
        return rest(told, here)


def sink_killed(told: stage.Stage) -> verdict.Verdict:
    """At each step of a write: what the store has of it is rolled back or stands whole."""
    points = some(told, SINK_POINTS) if told.scale.kills == stage.SHORT.kills else SINK_POINTS
    told.how = f"the sink's process killed at {', '.join(SINK_POINTS)}"
    with told.site() as here:
        begin(told, here)
        for point in points:
            here.recovered(die_at(told, here, here.sinks["warehouse"], point))
        return rest(told, here)


def one_sink_killed(told: stage.Stage) -> verdict.Verdict:
    """One of two processes of a sink, for both ways in which a store tells a write that comes twice: the other takes what was
    on its way, and takes back its half when it is there again."""
    told.how = (
        "two processes of each sink, Postgres and ClickHouse, behind one batcher: one of the two killed, at"
        " postgres.inserted, postgres.committed, clickhouse.answered and at any moment, and started again"
    )
    stores: dict[str, store.Store] = {"warehouse": told.postgres(), "shelf": told.clickhouse()}
    # Here the ways to the store are what is tested; what it refuses is, elsewhere.
    with told.site(stream.Mix(rejected=0), stores=stores, endpoints=2) as here:
        begin(told, here, batchers=1)
        for name, points in _ONE_SINK_POINTS.items():
            for number, point in enumerate(points if told.scale.kills > stage.SHORT.kills else points[:1]):
                one = [here.sinks[name], *here.sinks_beside[name]][number % 2]
                here.recovered(die_at(told, here, one, point))
        return rest(told, here)


def all_killed(told: stage.Stage) -> verdict.Verdict:
    """A power cut of all but the brokers and the store."""
    told.how = "all processes of the pipeline killed at once and started again"
    with told.site() as here:
        begin(told, here)
        for _ in range(told.scale.rounds):
            time.sleep(told.random.uniform(0.5, 2.0))
            for one in here.all_members:
                one.kill()
            died = time.monotonic()
            told.times += 1
            for one in here.all_members:
                one.start()
            here.sample_meanwhile()
            here.recovered(died)
        return rest(told, here)


def frozen(told: stage.Stage) -> verdict.Verdict:
    """Each kind in turn. A batcher comes back as a zombie: its partitions have had another owner, who has landed."""
    told.how = (
        f"SIGSTOP, for {told.scale.zombie_seconds:g} s, of a batcher (a group's patience is 10 s), of a door and of the sink"
    )
    with told.site() as here:
        begin(told, here)
        for one in (here.batchers["warehouse"][0], here.doors[0], here.sinks["warehouse"]):
            one.signal(signal.SIGSTOP)
            time.sleep(told.scale.zombie_seconds)
            one.signal(signal.SIGCONT)
            told.times += 1
            here.recovered(time.monotonic())
        return rest(told, here)


def zombie(told: stage.Stage) -> verdict.Verdict:
    """The short form: one batcher, for a little longer than its group waits."""
    told.how = f"SIGSTOP of one of two batchers for {told.scale.zombie_seconds:g} s"
    with told.site() as here:
        begin(told, here)
        one = here.batchers["warehouse"][0]
        one.signal(signal.SIGSTOP)
        time.sleep(told.scale.zombie_seconds)
        one.signal(signal.SIGCONT)
        told.times += 1
        here.recovered(time.monotonic())
        return rest(told, here)


def come_and_go(told: stage.Stage) -> verdict.Verdict:
    """Three batchers: joining, leaving in good order, killed, and all of it again before the group has settled."""
    told.how = "three batchers join, leave with SIGTERM, are killed and come back, one every two seconds"
    with told.site() as here:
        begin(told, here, batchers=1)
        several = [here.batchers["warehouse"][0], here.add_batcher("warehouse"), here.add_batcher("warehouse")]
        for number in range(6 * told.scale.rounds):
            one = several[number % 3]
            if not one.alive:
                one.start()
            elif told.random.random() < 0.5:
                one.kill()
                one.start()
            else:
                one.stop()
                one.start()
            told.times += 1
            time.sleep(2.0)
        for one in several:
            if not one.alive:
                one.start()
        here.recovered(time.monotonic())
        return rest(told, here)


def clock_jumped(told: stage.Stage) -> verdict.Verdict:
    """The wall clock of all the pipeline's processes; the brokers and the store keep theirs."""
    told.how = "the clock of all the pipeline's processes an hour ahead, then an hour back, then right again"
    with told.site() as here:
        begin(told, here)
        for shift in (_HOUR_SECONDS, -_HOUR_SECONDS, 0.0):
            told.nursery.shift(shift)
            told.times += 1
            here.recovered(time.monotonic())
            time.sleep(told.scale.hold_seconds / 2)
        here.batchers["warehouse"][0].kill()
        told.nursery.shift(-_HOUR_SECONDS)
        here.batchers["warehouse"][0].start()
        here.recovered(time.monotonic())
        return rest(told, here)


def duplicated(told: stage.Stage) -> verdict.Verdict:
    """Clients send everything twice, and the lane's offsets are put back by as much as it had done."""
    told.how = (
        "clients send every request twice; then the batchers end and the group's offsets are put back by a third of the log"
    )
    with told.site() as here:
        here.start()
        here.load(told.scale.rate, told.scale.events, again=1.0)
        here.go_on(told.scale.events // 3)
        early = here.logbook.commits("warehouse")
        here.go_on_to(told.scale.events * 2 // 3)
        for one in here.batchers["warehouse"]:
            one.stop()
        here.logbook.put_back("warehouse", early)
        told.times += 1
        back = time.monotonic()
        for one in here.batchers["warehouse"]:
            one.start()
        here.recovered(back)
        return rest(told, here)


def alone_killed(told: stage.Stage) -> verdict.Verdict:
    """`penstock run` over the same log: everything in one process, which dies."""
    points = some(told, (*INGEST_POINTS, *BATCHER_POINTS, *SINK_POINTS))
    told.how = "`penstock run` with its log in Kafka, killed at a third of the points above, with each seed at other ones"
    with told.site(stream.Mix(failing=20, rejected=20)) as here:
        one = here.start_alone()
        here.load(told.scale.rate, told.scale.events)
        here.go_on(int(told.scale.events * _EARLY))
        for point in points:
            here.recovered(die_at(told, here, one, point))
        return rest(told, here)


def alone_frozen(told: stage.Stage) -> verdict.Verdict:
    told.how = (
        f"`penstock run` with its log in Kafka: SIGSTOP for {told.scale.zombie_seconds:g} s, the clock an hour ahead and back"
    )
    with told.site() as here:
        one = here.start_alone()
        here.load(told.scale.rate, told.scale.events)
        here.go_on(int(told.scale.events * _EARLY))
        one.signal(signal.SIGSTOP)
        time.sleep(told.scale.zombie_seconds)
        one.signal(signal.SIGCONT)
        told.times += 1
        here.recovered(time.monotonic())
        for shift in (_HOUR_SECONDS, -_HOUR_SECONDS):
            told.nursery.shift(shift)
            told.times += 1
            here.recovered(time.monotonic())
        return rest(told, here)


ONE_SINK = stage.Fault(row=3, name="kill -9: one of two sinks", perform=one_sink_killed)
EACH = [
    stage.Fault(row=0, name="none", perform=none),
    stage.Fault(row=1, name="kill -9: ingest", perform=ingest_killed),
    stage.Fault(row=2, name="kill -9: batcher", perform=batcher_killed),
    stage.Fault(row=3, name="kill -9: sink", perform=sink_killed),
    ONE_SINK,
    stage.Fault(row=3, name="kill -9: all at once", perform=all_killed),
    stage.Fault(row=3, name="kill -9: run", perform=alone_killed),
    stage.Fault(row=8, name="SIGSTOP", perform=frozen),
    stage.Fault(row=8, name="SIGSTOP and clock: run", perform=alone_frozen),
    stage.Fault(row=8, name="batchers come and go", perform=come_and_go),
    stage.Fault(row=14, name="duplicates and offsets put back", perform=duplicated),
    stage.Fault(row=15, name="clock ±1 h", perform=clock_jumped),
]
ZOMBIE = stage.Fault(row=8, name="a zombie batcher", perform=zombie)
