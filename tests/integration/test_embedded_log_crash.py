"""The embedded log under kill -9 and SIGSTOP: what was acknowledged is there, in order, and one process writes."""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator

import pytest

from penstock.log import port
from penstock.log.embedded import front as embedded

ROUNDS = 20
PRODUCERS = ("p", "q", "r", "s")

# Appends as four producers, reads and commits as one group, trims now and then; a line on standard output per
# acknowledgement. Small limits make it checkpoint, trim in steps and shrink all the time.
WRITER = r"""
import asyncio, os, pathlib, sys, zlib
from penstock.log import port
from penstock.log.embedded import front as embedded
from penstock.log.embedded import store as embedded_store
from penstock.log.embedded import writer as embedded_writer

embedded_writer._CHECKPOINT_BYTES = 1 << 20
embedded_store._TRIM_BYTES = 1 << 20
embedded_store._SPARE_BYTES = 2 << 20

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())

def value(producer, sequence):
    seed = zlib.crc32(f"{producer}{sequence}".encode())
    return seed.to_bytes(4, "big") * (seed % 30_000)

class Silent:
    async def on_assigned(self, commits): ...
    async def on_revoked(self, partitions): ...

async def produce(log, producer, sequence):
    while True:
        record = port.NewRecord(value=value(producer, sequence), headers={}, producer=producer, sequence=sequence)
        appended = await log.append(port.EVENTS, 0, record)
        say("append", producer, sequence, appended.offset)
        sequence += 1

async def consume(log):
    subscription = await log.subscribe(port.EVENTS, "g", Silent())
    while True:
        records = await subscription.poll(max_bytes=300_000, timeout_seconds=10)
        offset = records[-1].offset + 1
        await subscription.commit({0: port.Commit(offset=offset, metadata=f"{offset} " * 400)})
        say("commit", offset)
        if offset % 5 == 0:
            await log.trim(port.EVENTS, 0, max(0, offset - 40))

async def main():
    log = await embedded.EmbeddedLog.open(pathlib.Path(sys.argv[1]))
    say("ready")
    starts = dict(word.split("=") for word in sys.argv[2:])
    async with asyncio.TaskGroup() as tasks:
        if starts:
            tasks.create_task(consume(log))
        for producer, sequence in starts.items():
            tasks.create_task(produce(log, producer, int(sequence)))
        if not starts:
            tasks.create_task(asyncio.Event().wait())

asyncio.run(main())
"""


@contextlib.contextmanager
def writer(path: pathlib.Path, **starts: int) -> Iterator[subprocess.Popen[str]]:
    """A process that writes the log until it is killed, at the latest on leaving."""
    command = [sys.executable, "-c", WRITER, str(path), *(f"{name}={sequence}" for name, sequence in starts.items())]
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(embedded.__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


class Acknowledged:
    """What the log has promised so far, over all its lives."""

    def __init__(self) -> None:
        self.next_sequence = dict.fromkeys(PRODUCERS, 0)
        self.at: dict[int, tuple[str, int]] = {}
        self.committed = 0

    def hear(self, line: str) -> None:
        # The last line can be cut off by the kill; then nobody was told.
        match line.split() if line.endswith("\n") else []:
            case ["append", producer, sequence, offset]:
                self.next_sequence[producer] = int(sequence) + 1
                if int(offset) >= 0:
                    assert self.at.setdefault(int(offset), (producer, int(sequence))) == (producer, int(sequence))
            case ["commit", offset]:
                self.committed = int(offset)


def value(producer: str, sequence: int) -> bytes:
    seed = zlib.crc32(f"{producer}{sequence}".encode())
    return seed.to_bytes(4, "big") * (seed % 30_000)


async def everything(log: port.EventLog) -> list[port.Record]:
    bounds = await log.bounds(port.EVENTS, 0)
    found: list[port.Record] = []
    while bounds.start + len(found) < bounds.end:
        found += await log.read(port.EVENTS, 0, bounds.start + len(found), max_bytes=1 << 20)
    return found


async def check(log: port.EventLog, promised: Acknowledged) -> None:
    bounds = await log.bounds(port.EVENTS, 0)
    found = await everything(log)
    assert [item.offset for item in found] == list(range(bounds.start, bounds.end))
    assert all(item.value == value(item.producer, item.sequence) for item in found)
    times = [item.append_time_microseconds for item in found]
    assert times == sorted(times)
    for producer in PRODUCERS:
        sequences = [item.sequence for item in found if item.producer == producer]
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences))) if sequences else True
    there = {item.offset: (item.producer, item.sequence) for item in found}
    assert max(promised.at, default=-1) < bounds.end
    for offset, identity in promised.at.items():
        assert offset < bounds.start or there[offset] == identity
    commit = (await log.committed(port.EVENTS, "g")).get(0, port.Commit(offset=0))
    assert promised.committed <= commit.offset <= bounds.end
    assert bounds.start <= commit.offset
    assert commit.metadata == f"{commit.offset} " * 400 or commit.offset == 0


async def test_what_was_acknowledged_survives_kill_9_at_any_moment(tmp_path):
    """Catches an answer before the flush, a commit apart from its metadata, and a sequence or an end that lags its records."""
    path = tmp_path / "log.db"
    promised = Acknowledged()
    moments = random.Random(20)
    for _ in range(ROUNDS):
        with writer(path, **promised.next_sequence) as process:
            assert process.stdout is not None
            for _ in range(moments.randrange(1, 120)):
                promised.hear(process.stdout.readline())
            process.kill()
            for line in process.stdout:
                promised.hear(line)
        dead = await embedded.EmbeddedLog.open(path, read_only=True)
        await check(dead, promised)
        await dead.close()
    assert len(promised.at) > 200
    log = await embedded.EmbeddedLog.open(path)
    await check(log, promised)
    await log.close()


async def test_a_stopped_writer_keeps_its_lock_and_a_killed_one_does_not(tmp_path):
    """Catches a lock with a time-out, under which a writer that wakes up again would be the second."""
    path = tmp_path / "log.db"
    with writer(path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(port.LogLockedError, match=f"process {process.pid}"):
            await embedded.EmbeddedLog.open(path)
        beside = await embedded.EmbeddedLog.open(path, read_only=True)
        assert await beside.bounds(port.EVENTS, 0) == port.Bounds(start=0, end=0)
        await beside.close()
        process.kill()
        process.wait()
        log = await embedded.EmbeddedLog.open(path)
        await log.close()


async def test_a_reader_beside_a_writer_sees_what_is_acknowledged(tmp_path):
    """Catches a read-only opening that looks at an old state, or that disturbs the writer when it ends."""
    path = tmp_path / "log.db"
    log = await embedded.EmbeddedLog.open(path)
    for sequence in range(30):
        beside = await embedded.EmbeddedLog.open(path, read_only=True)
        record = port.NewRecord(value=b"x" * 100_000, headers={}, producer="p", sequence=sequence)
        await log.append(port.EVENTS, 0, record)
        assert (await beside.bounds(port.EVENTS, 0)).end == sequence + 1
        assert beside.log_id == log.log_id
        await beside.close()
    await log.close()
    alone = await embedded.EmbeddedLog.open(path, read_only=True)
    assert len(await everything(alone)) == 30
    await alone.close()
