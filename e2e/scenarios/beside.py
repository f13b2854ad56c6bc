"""What stands beside the cluster, on this machine: Kafka and Postgres, where pods reach them."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Iterator

from tests.servers import installed, kafka, postgres


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Running servers, everybody's of one run: names in them must be a scenario's own."""

    kafka: kafka.Kafka
    postgres: postgres.Postgres

    def last_words(self) -> str:
        """The ends of their logs."""
        return "\n".join(f"-- {one.log.stem}\n{one.last_words()}" for one in (self.kafka.broker, self.postgres.server))


@contextlib.contextmanager
def opened(address: str) -> Iterator[Beside]:
    """Both, at this address of the machine; ended at the end."""
    there = installed.found()
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="e2e-", ignore_cleanup_errors=True)))
        folder.chmod(0o755)  # Postgres runs as somebody else where this is root.
        for name in (first := folder / "kafka", second := folder / "postgres"):
            name.mkdir()
        broker, database = kafka.Kafka(there, first, address), postgres.Postgres(there, second, address)
        broker.format()
        database.initialise()
        for server in (broker.broker, database.server):
            stack.callback(server.stop)
            server.start()
        yield Beside(kafka=broker, postgres=database)
