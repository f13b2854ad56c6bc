"""A real Kafka broker of one node, small: KRaft, no ZooKeeper, a plain listener, one with passwords, one with certificates."""

from __future__ import annotations

import pathlib
import subprocess

from tests.servers import installed, process

from penstock.cli import background

CERTIFICATES = pathlib.Path(__file__).parents[1] / "certificates"
AUTHORITY = CERTIFICATES / "authority.crt"
USER = "penstock"
PASSWORD = "not a secret"
CLUSTER_ID = "cGVuc3RvY2stdGVzdHMtMQ"

_SMALL = ["-XX:+UseSerialGC", "-XX:ReservedCodeCacheSize=64m", "-XX:MaxMetaspaceSize=128m", "-Xss512k", "-XX:TieredStopAtLevel=1"]
_MODULE = "org.apache.kafka.common.security"


class Kafka:
    """`bootstrap` is open to everybody on this machine; `secure` wants TLS (AUTHORITY) with USER's PASSWORD, PLAIN or SCRAM;
    `mutual` wants TLS with a certificate of AUTHORITY.

    `stop`, `kill`, `suspend`, `resume`, `start`: of `broker`; its ports and data stay. `host` is where it listens, and what
    clients are told.
    """

    def __init__(self, servers: installed.Servers, directory: pathlib.Path, host: str = "127.0.0.1") -> None:
        plain, secure, mutual, controller = (background.free_port() for _ in range(4))
        self.bootstrap = f"{host}:{plain}"
        self.secure = f"{host}:{secure}"
        self.mutual = f"{host}:{mutual}"
        self._directory = directory
        self._java = [str(servers.java), *_SMALL, "-cp", f"{servers.jars}/*"]
        self._properties = directory / "server.properties"
        self._properties.write_text(_properties(directory, host, plain, secure, mutual, controller))
        self.broker = process.Process(
            [*self._java, "-Xms96m", "-Xmx256m", "-XX:MaxDirectMemorySize=96m", "kafka.Kafka", str(self._properties)],
            directory / "kafka.log",
            lambda: process.accepts(plain, host),
        )

    def format(self) -> None:
        """Make the empty data directory; once."""
        scram = f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"
        arguments = ["format", "-c", str(self._properties), "-t", CLUSTER_ID, "--standalone", "--add-scram", scram]
        done = subprocess.run(
            [*self._java, "-Xmx128m", "kafka.tools.StorageTool", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise process.ServerError(f"Kafka's storage was not formatted\n{done.stdout}{done.stderr}")


def _properties(directory: pathlib.Path, host: str, plain: int, secure: int, mutual: int, controller: int) -> str:
    pem = directory / "broker.pem"
    pem.write_text((CERTIFICATES / "first.key").read_text() + (CERTIFICATES / "first.crt").read_text())
    plain_login = f'{_MODULE}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
    scram_login = f"{_MODULE}.scram.ScramLoginModule required;"
    return f"""\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAIN://{host}:{plain},SECURE://{host}:{secure},MUTUAL://{host}:{mutual},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAIN://{host}:{plain},SECURE://{host}:{secure},MUTUAL://{host}:{mutual}
inter.broker.listener.name=PLAIN
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAIN:PLAINTEXT,SECURE:SASL_SSL,MUTUAL:SSL,CONTROLLER:PLAINTEXT
listener.name.secure.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.secure.plain.sasl.jaas.config={plain_login}
listener.name.secure.scram-sha-512.sasl.jaas.config={scram_login}
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location={pem}
listener.name.mutual.ssl.keystore.type=PEM
listener.name.mutual.ssl.keystore.location={pem}
listener.name.mutual.ssl.truststore.type=PEM
listener.name.mutual.ssl.truststore.location={AUTHORITY}
listener.name.mutual.ssl.client.auth=required
log.dirs={directory / "data"}
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
group.min.session.timeout.ms=1000
num.network.threads=2
num.io.threads=2
background.threads=1
log.cleaner.dedupe.buffer.size=2097152
log.cleaner.backoff.ms=200
log.segment.bytes=134217728
message.max.bytes=1048576
replica.fetch.max.bytes=8388608
socket.request.max.bytes=33554432
"""
