"""Several real Kafka brokers on one machine, each also a controller: what one broker alone cannot show.

About 350 MB each. Every node can have a second listener whose clients are sent through a port of somebody else's, such as a
proxy that can be made deaf.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import pathlib
import subprocess

from tests.servers import installed, kafka, process

from penstock.cli import background

_JAVA = ["-XX:+UseSerialGC", "-XX:ReservedCodeCacheSize=64m", "-XX:MaxMetaspaceSize=128m", "-Xss512k", "-XX:TieredStopAtLevel=1"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Of one node. `roundabout` is a listener that names the port `told` as its own."""

    plain: int
    controller: int
    roundabout: int
    told: int


class Node:
    """One broker; its ports and data stay over `stop`, `kill`, `suspend`, `resume`, `start` of its `server`."""

    def __init__(self, servers: installed.Servers, directory: pathlib.Path, number: int, ports: list[Ports]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.number, self.ports, self.data = number, ports[number - 1], directory / "data"
        self.data.mkdir(exist_ok=True)
        self._java = [str(servers.java), *_JAVA, "-cp", f"{servers.jars}/*"]
        self._settings = directory / "server.properties"
        self._settings.write_text(_properties(self.data, number, ports))
        self.server = process.Process(
            [*self._java, "-Xms96m", "-Xmx256m", "-XX:MaxDirectMemorySize=96m", "kafka.Kafka", str(self._settings)],
            directory / "kafka.log",
            lambda: process.accepts(self.ports.plain),
        )

    def format(self) -> None:
        """Make the empty data directory; once."""
        command = [
            *self._java,
            "-Xmx128m",
            "kafka.tools.StorageTool",
            "format",
            "-c",
            str(self._settings),
            "-t",
            kafka.CLUSTER_ID,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise process.ServerError(f"Kafka's storage was not formatted\n{done.stdout}{done.stderr}")


class Cluster:
    """`count` brokers; use as a context. Topics of the cluster's own are kept `min(count, 3)` times.

    `told` are the ports that clients of the second listeners are sent to, by node; where they come out is `Ports.roundabout`.
    """

    def __init__(
        self, servers: installed.Servers, directory: pathlib.Path, count: int, told: dict[int, int] | None = None
    ) -> None:
        ports = [
            Ports(
                plain=background.free_port(),
                controller=background.free_port(),
                roundabout=(around := background.free_port()),
                told=(told or {}).get(number, around),
            )
            for number in range(1, count + 1)
        ]
        self.nodes = [Node(servers, directory / f"node-{number}", number, ports) for number in range(1, count + 1)]
        self.bootstrap = [f"127.0.0.1:{node.ports.plain}" for node in self.nodes]
        self.replication = min(count, 3)

    def __enter__(self) -> Cluster:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            try:
                list(pool.map(Node.format, self.nodes))
                # None is ready before a majority is there.
                list(pool.map(lambda node: node.server.start(), self.nodes))
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.server.kill()


def _properties(data: pathlib.Path, number: int, ports: list[Ports]) -> str:
    own, copies = ports[number - 1], min(len(ports), 3)
    voters = ",".join(f"{at}@127.0.0.1:{one.controller}" for at, one in enumerate(ports, 1))
    return f"""\
process.roles=broker,controller
node.id={number}
controller.quorum.voters={voters}
listeners=PLAIN://127.0.0.1:{own.plain},ROUND://127.0.0.1:{own.roundabout},CONTROLLER://127.0.0.1:{own.controller}
advertised.listeners=PLAIN://127.0.0.1:{own.plain},ROUND://127.0.0.1:{own.told}
inter.broker.listener.name=PLAIN
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAIN:PLAINTEXT,ROUND:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor={copies}
offsets.topic.num.partitions=4
offsets.topic.replication.factor={copies}
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
replica.lag.time.max.ms=5000
group.min.session.timeout.ms=1000
num.network.threads=2
num.io.threads=2
background.threads=1
log.cleaner.dedupe.buffer.size=2097152
log.segment.bytes=134217728
message.max.bytes=1048576
replica.fetch.max.bytes=16777216
socket.request.max.bytes=33554432
"""
