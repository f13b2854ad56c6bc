"""Where a lane begins that is told to read from now on."""

from __future__ import annotations

import dataclasses

import pytest
from tests.integration import lane_run

from penstock.api import load
from penstock.batcher import beginning
from penstock.core import ledger
from penstock.log import port
from penstock.machine import lanes


@dataclasses.dataclass
class Log:
    """Its partitions end at `ends`; `used`: another process reads as the group."""

    ends: list[int]
    commits: dict[int, port.Commit] = dataclasses.field(default_factory=dict)
    used: bool = False

    @property
    def partitions(self):
        return len(self.ends)

    async def bounds(self, topic, partition):
        return port.Bounds(start=0, end=self.ends[partition])

    async def committed(self, topic, group):
        return self.commits

    async def commit_for(self, topic, group, commits):
        if self.used:
            raise port.GroupInUseError("it has members")
        self.commits = dict(commits)


def settings(begins: str):
    described = load.load_one(lane_run.pipeline(sink_startFrom={"type": begins}))
    return lanes.lane_for(described, described.spec.sinks[0])


def begun(log: Log) -> dict[int, int]:
    return {partition: commit.offset for partition, commit in log.commits.items()}


async def test_now_is_put_down_for_all_partitions_also_empty_ones():
    """Catches a partition without a commit, which could not be told from one that was added later."""
    log = Log([7, 0])
    await beginning.begin(settings("Now"), log)
    assert begun(log) == {0: 7, 1: 0}
    assert [ledger.from_metadata(commit.metadata).start_offset for commit in log.commits.values()] == [7, 0]


async def test_a_lane_that_has_begun_begins_no_second_time():
    """Catches a beginning that moves with each start, past what nobody has read, and one for partitions that were added."""
    log = Log([7])
    await beginning.begin(settings("Now"), log)
    log.ends = [9, 4]
    await beginning.begin(settings("Now"), log)
    assert begun(log) == {0: 7}


async def test_a_lane_that_reads_all_puts_nothing_down():
    """Catches a lane that begins at the end whatever it was told."""
    log = Log([7])
    await beginning.begin(settings("Earliest"), log)
    assert not log.commits


async def test_of_two_processes_the_first_one_says_when_it_was():
    """Catches a second process that doesn't start because the first one is there."""
    log = Log([7], used=True)
    await beginning.begin(settings("Now"), log)
    assert not log.commits


@pytest.mark.parametrize("error", [port.LogUnavailableError("away"), port.LogError("refused")])
async def test_a_beginning_that_could_not_be_put_down_is_told(error):
    """Catches a lane that goes on from the start of the log because nobody answered."""

    class Refusing(Log):
        async def commit_for(self, topic, group, commits):
            raise error

    with pytest.raises(type(error)):
        await beginning.begin(settings("Now"), Refusing([7]))
