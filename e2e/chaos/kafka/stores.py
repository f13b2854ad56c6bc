"""Faults of the stores and of the dead-letter topic: slow, stalled, refusing, answering late, rejecting, full, killed."""

from __future__ import annotations

import contextlib
import http.client
import pathlib
import shutil
import time
from collections.abc import Iterator

from e2e.chaos import faults as machine_faults
from e2e.chaos import site as chaos_site
from e2e.chaos.kafka import admin, faults, site, stage, stream
from e2e.checker import verdict
from penstock.log.kafka import topics

_MIB = 1 << 20
_TABLE_MIB = 96
_DEPTH = 5_000
_LONG_BYTES = 10 << 20
_SETTLING_SECONDS = 6.0


def _held(how: str, hold: str, release: str) -> stage.Perform:
    """Postgres itself, by these two methods of its server."""

    def perform(told: stage.Stage) -> verdict.Verdict:
        told.how = f"Postgres {how} for {told.scale.hold_seconds:g} s"
        with told.site() as here:
            faults.begin(told, here)
            server = told.servers.postgres.server
            for _ in range(told.scale.rounds):
                getattr(server, hold)()
                time.sleep(told.scale.hold_seconds)
                getattr(server, release)()
                told.times += 1
                here.recovered(time.monotonic())
                here.sample()
            return faults.rest(told, here)

    return perform


def slow(told: stage.Stage) -> verdict.Verdict:
    """Each write takes a second more, then it is as it was: nobody leaves the group, nothing is dropped."""
    told.how = "each write of the sink takes a second more; then its process is started anew as it was"
    with told.site() as here:
        faults.begin(told, here)
        sink = here.sinks["warehouse"]
        sink.stop()
        sink.start("postgres.copied=sleep:1@1-")
        here.until_ready(sink)
        here.go_on(told.scale.events // 4)
        here.recovered(time.monotonic())
        told.times += 1
        sink.stop()
        sink.start()
        here.recovered(time.monotonic())
        return faults.rest(told, here)


def late(told: stage.Stage) -> verdict.Verdict:
    """The rows have landed, and the lane hears of it only after its patience is over: it writes them again."""
    times = "".join(f";postgres.committed=sleep:3@{at}" for at in range(2, 2 + 3 * told.scale.kills, 3))[1:]
    told.how = f"the sink answers 3 s after the rows landed, {told.scale.kills} times; the lanes wait for 2 s"
    with told.site(write_seconds=2) as here:
        here.start()
        sink = here.sinks["warehouse"]
        sink.stop()
        sink.start(times)
        here.until_ready(sink)
        here.load(told.scale.rate, told.scale.events)
        here.go_on(told.scale.events // 3)
        told.times += told.scale.kills
        here.recovered(time.monotonic())
        return faults.rest(told, here)


def rejecting(told: stage.Stage) -> verdict.Verdict:
    """At random places: exactly those rows are dead letters, once each."""
    told.how = "Postgres refuses the rows of 5 % of the events, the transform fails for 1 %; a batcher is killed meanwhile"
    with told.site(stream.Mix(rejected=500, failing=100)) as here:
        faults.begin(told, here)
        here.recovered(faults.die_at(told, here, here.batchers["warehouse"][0], "lane.lettered"))
        return faults.rest(told, here)


def poison(told: stage.Stage) -> verdict.Verdict:
    """What no door may take, and what no transform can make a row of, among good events."""
    told.how = (
        "documents that are cut, not JSON, NaN, 5,000 deep, 10 MiB long, of wrong types, sent beside the load and refused one by"
        " one; the transform fails for 2 % of what is taken"
    )
    with told.site(stream.Mix(failing=200, refused=200)) as here:
        faults.begin(told, here)
        for _ in range(told.scale.rounds):
            told.times += _refused(here)
        here.recovered(time.monotonic())
        return faults.rest(told, here)


def _refused(here: site.Site) -> int:
    """Send each poison alone; how many there are. Raises StuckError when one is taken."""
    good = stream.payloads(stream.draw(0, 1, stream.Mix()))[0]
    poisons = [
        good[:-5],
        b"\xff\xfe\x00garbage",
        b'{"id":"x","customer":NaN,"number":1,"value":1}',
        b'{"id":"x","customer":1e400,"number":1,"value":1}',
        b'{"id":"x","customer":1,"number":1,"value":1,"items":' + b"[" * _DEPTH + b"]" * _DEPTH + b"}",
        b'{"id":"' + b"x" * _LONG_BYTES + b'","customer":1,"number":1,"value":1}',
        b'{"id":"x","customer":1,"number":"seven","value":[]}',
        b'["not an object"]',
    ]
    for poison in poisons:
        connection = http.client.HTTPConnection("127.0.0.1", here.doors[0].ports["http"], timeout=60.0)
        try:
            connection.request("POST", "/v1/events", poison, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            said = answer.read()
            status = answer.status
        except OSError:
            status, said = 413, b""  # Cut off while it was being sent.
        finally:
            connection.close()
        if status not in (400, 413, 422):
            raise chaos_site.StuckError(f"{poison[:60]!r} was answered with {status}: {said[:300]!r}")
    return len(poisons)


def letters_unavailable(told: stage.Stage) -> verdict.Verdict:
    """Rows that fail can't be kept: the lane waits, commits nothing beyond them, and skips none."""
    told.how = (
        f"three brokers, one killed for {told.scale.hold_seconds:g} s: the dead-letter topic wants all three copies and takes"
        " nothing, the events go on with two"
    )
    with told.site(stream.Mix(rejected=100, failing=100)) as here:
        faults.begin(told, here)
        topic, wanted = f"{here.prefix}.dead-letters", topics.wanted(here.settings)
        for _ in range(told.scale.rounds):
            node = told.random.choice(told.servers.nodes)
            here.have_sampled()
            # A slow machine drops copies out of sync; the last one that has everything is not to be the one that goes.
            here.until(lambda: admin.fewest_in_sync(told.servers.bootstrap, topic) == len(told.servers.nodes) or None)
            admin.set_topic(told.servers.bootstrap, topic, wanted | {"min.insync.replicas": "3"})
            node.kill()
            here.until(lambda: here.letters_ends() or None)
            time.sleep(_SETTLING_SECONDS)
            before = here.letters_ends()
            time.sleep(told.scale.hold_seconds)
            after = here.letters_ends()
            if any(after.get(partition, end) != end for partition, end in before.items()):
                raise chaos_site.StuckError(f"letters could still be written: {before}, {after}")
            # It ends once the topic's leaders know their ends again.
            here.sample_meanwhile()
            admin.set_topic(told.servers.bootstrap, topic, wanted)
            told.times += 1
            here.recovered(time.monotonic())
            node.start()
            here.recovered(time.monotonic())
        return faults.rest(told, here)


def disk_full(told: stage.Stage) -> verdict.Verdict:
    """The table stands on a disk of its own, which is filled to the last byte, and given room again."""
    told.how = f"the Postgres table on a tmpfs of {_TABLE_MIB} MiB, filled to the last byte for {told.scale.hold_seconds:g} s"
    place = pathlib.Path(told.servers.postgres.server.log.parent) / f"space{told.seed}"
    with machine_faults.small_disk(place, _TABLE_MIB) as mounted:
        if not mounted:
            raise chaos_site.StuckError("no small file system can be mounted here (needs root)")
        (inside := place / "table").mkdir()
        shutil.chown(inside, "nobody")
        name = f"small{told.seed}"
        told.servers.postgres.execute(f"CREATE TABLESPACE {name} LOCATION '{inside}'")
        warehouse = told.postgres(name)
        try:
            with told.site(stores={"warehouse": warehouse}) as here:
                faults.begin(told, here)
                with _filled(place):
                    time.sleep(told.scale.hold_seconds)
                told.times += 1
                here.recovered(time.monotonic())
                return faults.rest(told, here)
        finally:
            with contextlib.suppress(OSError):
                warehouse.run("DROP TABLE orders")
                told.servers.postgres.execute(f"DROP TABLESPACE {name}")


@contextlib.contextmanager
def _filled(place: pathlib.Path) -> Iterator[None]:
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(_MIB if shutil.disk_usage(place).free > _MIB else 4096))
    try:
        yield
    finally:
        ballast.unlink()


# -- ClickHouse, whose batches are planned before they are written


def clickhouse_killed(told: stage.Stage) -> verdict.Verdict:
    """Batchers and sink at the points that only this store has: after the plan, and after the answer."""
    told.how = "into ClickHouse: batchers killed at lane.planned and lane.answered, the sink at clickhouse.answered"
    with told.site(stores={"warehouse": told.clickhouse()}) as here:
        faults.begin(told, here)
        batchers, sink = here.batchers["warehouse"], here.sinks["warehouse"]
        for one, point in ((batchers[0], "lane.planned"), (sink, "clickhouse.answered"), (batchers[1], "lane.answered")):
            here.recovered(faults.die_at(told, here, one, point))
        return faults.rest(told, here)


def clickhouse_away(told: stage.Stage) -> verdict.Verdict:
    """The server stalls, then is killed and comes back."""
    told.how = f"into ClickHouse: the server SIGSTOPped for {told.scale.hold_seconds:g} s, then killed and started again"
    with told.site(stores={"warehouse": told.clickhouse()}) as here:
        faults.begin(told, here)
        assert told.servers.clickhouse
        server = told.servers.clickhouse.server
        for hold, release in (("suspend", "resume"), ("kill", "start")):
            getattr(server, hold)()
            time.sleep(told.scale.hold_seconds)
            getattr(server, release)()
            told.times += 1
            here.recovered(time.monotonic())
        return faults.rest(told, here)


def both(told: stage.Stage) -> verdict.Verdict:
    """Two lanes over one log: one store away must not hold up the other, and neither loses anything."""
    told.how = "two lanes over one log, Postgres and ClickHouse: a batcher of each killed, Postgres away, all under load"
    with told.site(stores={"warehouse": told.postgres(), "shelf": told.clickhouse()}) as here:
        faults.begin(told, here)
        for name in ("warehouse", "shelf"):
            here.recovered(faults.die_at(told, here, here.batchers[name][0], ""))
        told.servers.postgres.server.stop()
        time.sleep(told.scale.hold_seconds)
        told.servers.postgres.server.start()
        told.times += 1
        here.recovered(time.monotonic())
        return faults.rest(told, here)


LETTERS = stage.Fault(row=12, name="dead-letter topic unavailable", perform=letters_unavailable, brokers=3)
REJECTING = stage.Fault(row=10, name="sink rejecting 5 %", perform=rejecting)
LATE = stage.Fault(row=9, name="sink answering late", perform=late)
EACH = [
    stage.Fault(row=3, name="kill -9: into ClickHouse", perform=clickhouse_killed),
    stage.Fault(row=9, name="sink slow", perform=slow),
    stage.Fault(row=9, name="sink stalled", perform=_held("SIGSTOPped", "suspend", "resume")),
    stage.Fault(row=9, name="sink refusing", perform=_held("stopped", "stop", "start")),
    stage.Fault(row=9, name="sink killed", perform=_held("killed with SIGKILL and away", "kill", "start")),
    LATE,
    stage.Fault(row=9, name="ClickHouse stalled and killed", perform=clickhouse_away),
    stage.Fault(row=9, name="two lanes", perform=both),
    REJECTING,
    stage.Fault(row=11, name="poison", perform=poison),
    LETTERS,
    stage.Fault(row=13, name="disk full: store", perform=disk_full),
]
