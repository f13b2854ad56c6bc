"""The embedded log against a model of it in plain lists: whatever is done in whatever order, both say the same."""

from __future__ import annotations

import asyncio
import pathlib
import shutil
import tempfile

import hypothesis
import pytest
from hypothesis import stateful
from hypothesis import strategies as st

from penstock.log import port
from penstock.log.embedded import front as embedded

PARTITIONS = 2
PRODUCERS = ("p", "q")
partitions = st.integers(0, PARTITIONS - 1)


class Silent:
    async def on_assigned(self, commits) -> None: ...

    async def on_revoked(self, partitions) -> None: ...


class LogMachine(stateful.RuleBasedStateMachine):
    """The model: per partition all values ever appended, where it starts, the group's commit and the reader's position."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = pathlib.Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.values: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
        self.starts = [0] * PARTITIONS
        self.sent: dict[tuple[int, str], list[int]] = {(p, who): [] for p in range(PARTITIONS) for who in PRODUCERS}
        self.commits: dict[int, port.Commit] = {}
        self.open()

    def run(self, coroutine):
        return self.runner.run(coroutine)

    def open(self) -> None:
        self.log = self.run(embedded.EmbeddedLog.open(self.directory / "log.db", partitions=PARTITIONS))
        self.subscription = self.run(self.log.subscribe(port.EVENTS, "g", Silent()))
        # Assigned now, with nothing to be given: where nothing was committed the reader starts at what is left at that moment.
        self.subscription.pause(range(PARTITIONS))
        assert list(self.run(self.subscription.poll(max_bytes=1, timeout_seconds=0.0))) == []
        self.subscription.resume(range(PARTITIONS))
        self.positions = [self.commits[p].offset if p in self.commits else self.starts[p] for p in range(PARTITIONS)]

    def teardown(self) -> None:
        self.run(self.log.close())
        self.runner.close()
        shutil.rmtree(self.directory)

    @stateful.rule(
        partition=partitions, producer=st.sampled_from(PRODUCERS), size=st.sampled_from([0, 3, 9_000]), count=st.integers(1, 4)
    )
    def append(self, partition, producer, size, count):
        sent = self.sent[partition, producer]
        news = [(len(sent) + number, f"{partition}{producer}{len(sent) + number}".encode() * size) for number in range(count)]

        async def together():
            records = [port.NewRecord(value=value, headers={}, producer=producer, sequence=number) for number, value in news]
            return await asyncio.gather(*(self.log.append(port.EVENTS, partition, record) for record in records))

        end = len(self.values[partition])
        assert [item.offset for item in self.run(together())] == list(range(end, end + count))
        sent.extend(range(end, end + count))
        self.values[partition].extend(value for _, value in news)

    @stateful.rule(partition=partitions, producer=st.sampled_from(PRODUCERS), data=st.data())
    def append_again(self, partition, producer, data):
        sent = self.sent[partition, producer]
        if not sent:
            return
        sequence = data.draw(st.integers(0, len(sent) - 1))
        again = port.NewRecord(value=b"not looked at", headers={}, producer=producer, sequence=sequence)
        appended = self.run(self.log.append(port.EVENTS, partition, again))
        assert appended.resent
        assert appended.offset == (sent[sequence] if sent[sequence] >= self.starts[partition] else -1)

    @stateful.rule(partition=partitions, ahead=st.integers(1, 5))
    def append_with_a_gap(self, partition, ahead):
        record = port.NewRecord(value=b"", headers={}, producer="p", sequence=len(self.sent[partition, "p"]) + ahead)
        with pytest.raises(port.LogError):
            self.run(self.log.append(port.EVENTS, partition, record))

    @stateful.rule(max_bytes=st.sampled_from([1, 10_000, 1 << 20]))
    def poll(self, max_bytes):
        behind = [p for p in range(PARTITIONS) if self.positions[p] < self.starts[p]]
        if behind:
            with pytest.raises(port.OffsetOutOfRangeError):
                self.run(self.subscription.poll(max_bytes=max_bytes, timeout_seconds=0.0))
            return
        found = self.run(self.subscription.poll(max_bytes=max_bytes, timeout_seconds=0.0))
        unread = any(self.positions[p] < len(self.values[p]) for p in range(PARTITIONS))
        assert bool(found) == unread
        assert len(found) <= 1 or sum(len(item.value) for item in found) <= max_bytes
        for item in found:
            assert item.offset == self.positions[item.partition]
            assert item.value == self.values[item.partition][item.offset]
            self.positions[item.partition] += 1

    @stateful.rule(partition=partitions, data=st.data())
    def seek(self, partition, data):
        self.positions[partition] = data.draw(st.integers(self.starts[partition], len(self.values[partition])))
        self.subscription.seek(partition, self.positions[partition])

    @stateful.rule(data=st.data(), chosen=st.sets(partitions), metadata=st.text(st.characters(codec="utf-8"), max_size=10))
    def commit(self, data, chosen, metadata):
        commits = {
            p: port.Commit(offset=data.draw(st.integers(self.starts[p], len(self.values[p]))), metadata=metadata) for p in chosen
        }
        self.run(self.subscription.commit(commits))
        self.commits.update(commits)

    @stateful.rule(partition=partitions, data=st.data())
    def trim(self, partition, data):
        before = data.draw(st.integers(0, len(self.values[partition])))
        self.run(self.log.trim(port.EVENTS, partition, before))
        self.starts[partition] = max(self.starts[partition], before)

    @stateful.rule()
    def close_and_open(self):
        self.run(self.log.close())
        self.open()

    @stateful.invariant()
    def says_what_the_model_says(self):
        assert self.run(self.log.committed(port.EVENTS, "g")) == self.commits
        for p in range(PARTITIONS):
            assert self.run(self.log.bounds(port.EVENTS, p)) == port.Bounds(start=self.starts[p], end=len(self.values[p]))
            newest = self.run(self.log.headers(port.EVENTS, p, len(self.values[p]), limit=3))
            assert [item.offset for item in newest] == list(range(len(self.values[p]) - 1, self.starts[p] - 1, -1))[:3]


LogMachine.TestCase.settings = hypothesis.settings(max_examples=25, stateful_step_count=25, deadline=None)
TestEmbeddedLogAgainstItsModel = LogMachine.TestCase
TestEmbeddedLogAgainstItsModel.__doc__ = (
    "Catches any position, start, end or commit that another order of calls moves wrongly, and a poll that gives a record twice."
)
