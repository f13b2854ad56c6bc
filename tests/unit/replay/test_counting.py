"""Counts of letters that follow the topic, against a reading of all of it."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.replay import topic as topics

from penstock.core import deadletters, markers, selection
from penstock.log import port
from penstock.replay import book, counting, tally

LANES = ("n/p/a", "n/p/b")
KEEP_SECONDS = 60.0 * 128
CATEGORIES = (deadletters.Category.TRANSFORM_FAILED, deadletters.Category.SINK_REJECTED, deadletters.Category.MALFORMED)


def opened(log: topics.Topic, renamed: dict[str, str] | None = None) -> counting.LetterCounts:
    return counting.LetterCounts(log, LANES, keep_seconds=KEEP_SECONDS, renamed=renamed or {})  # type: ignore[arg-type]


class World:
    """Lanes that fail, crash and replay, people who discard, and a topic that is trimmed; `gone` is what was trimmed."""

    def __init__(self) -> None:
        self.log = topics.Topic()
        self.counts = opened(self.log)
        self.gone: collections.Counter[tuple[str, str]] = collections.Counter()
        self.ends = dict.fromkeys(LANES, 0)
        self.unmarked: list[tuple[deadletters.DeadLetter, int]] = []

    def scan(self) -> list[book.Found]:
        async def read() -> list[book.Found]:
            return [one async for one in (await book.Book.open(self.log)).letters()]  # type: ignore[arg-type]

        return asyncio.run(read())

    def _pick(self, found: list[book.Found], choice: int) -> book.Found | None:
        return found[choice % len(found)] if found else None

    def fail(self, choice: int) -> None:
        """Some units of the lane's next block."""
        lane = LANES[choice % 2]
        for number in range(choice % 3 + 1):
            items = (number,) if choice % 5 else ()
            self.log.put_letter(topics.letter(lane, self.ends[lane], items, CATEGORIES[(choice + number) % 3]))
        self.ends[lane] += 1

    def commit(self, choice: int) -> None:
        lane = LANES[choice % 2]
        self.log.commits[port.EVENTS, lane] = self.ends[lane]

    def crash(self, choice: int) -> None:
        """What the lanes had not finished they write once more, for whatever reason it fails now."""
        for one in self.scan():
            replays = port.replay_topic(book.sink_of(one.letter.lane))
            events_open = one.letter.offset >= self.log.commits[port.EVENTS, one.letter.lane]
            replays_open = self.log.commits[replays, one.letter.lane] < len(self.log.records[replays])
            if (replays_open if one.letter.attempt > 1 else events_open) and one.state in selection.WAITING:
                self.log.put_letter(one.letter)

    def replay(self, choice: int) -> None:
        """Publish one that may go; its marker comes now, or when the next job has found what the last one left."""
        free = [one for one in self.scan() if one.state in selection.WAITING and self._settled(one.letter)]
        free = [one for one in free if one.letter not in [letter for letter, _ in self.unmarked]]
        if chosen := self._pick(free, choice):
            place = self.log.put(port.replay_topic(book.sink_of(chosen.letter.lane)), {})
            if choice % 3:
                self.log.put_marker(chosen.letter, markers.Kind.REPLAYED, chosen.offset, place, told=True)
            else:
                self.unmarked.append((chosen.letter, place))

    def _settled(self, letter: deadletters.DeadLetter) -> bool:
        topic = port.replay_topic(book.sink_of(letter.lane))
        progress = selection.Progress(
            events_finished=self.log.commits[port.EVENTS, letter.lane],
            replays_finished=self.log.commits[topic, letter.lane],
            replays_end=len(self.log.records[topic]),
        )
        return selection.is_settled(letter, self.log.known_as, progress)

    def recover(self, choice: int) -> None:
        for letter, place in self.unmarked:
            self.log.put_marker(letter, markers.Kind.REPLAYED, 0, place, told=False)
        self.unmarked.clear()

    def fail_again(self, choice: int) -> None:
        """A replay that its lane has not finished fails: the unit again, or rows of an event that was replayed whole."""
        replaying = [one for one in self.scan() if one.state is selection.State.REPLAYING]
        if chosen := self._pick(replaying, choice):
            split = not chosen.letter.items and choice % 2
            for items in ((0,), (1,)) if split else (chosen.letter.items,):
                self.log.put_letter(topics.again(chosen.letter, items))

    def finish_replays(self, choice: int) -> None:
        lane = LANES[choice % 2]
        topic = port.replay_topic(book.sink_of(lane))
        self.log.commits[topic, lane] = len(self.log.records[topic])

    def discard(self, choice: int) -> None:
        self.recover(choice)
        if chosen := self._pick([one for one in self.scan() if one.state in selection.WAITING], choice):
            self.log.put_marker(chosen.letter, markers.Kind.DISCARDED, chosen.offset, markers.NOWHERE, told=bool(choice % 4))

    def wait(self, choice: int) -> None:
        self.log.clock += 30 * (choice % 4)

    def look(self, choice: int) -> None:
        asyncio.run(self.counts.look([0], 10**9 if choice % 3 else 2))

    def save(self, choice: int) -> None:
        asyncio.run(self.counts.save())

    def kill(self, choice: int) -> None:
        self.counts = opened(self.log)

    def trim(self, choice: int) -> None:
        """No letter leaves before it was counted, nor while a job or a lane is at it."""
        self.recover(choice)
        for one in (0, 1):
            self.commit(one)
            self.finish_replays(one)
        asyncio.run(self.counts.look([0]))
        if choice % 2:
            self.save(0)
        before = {one.letter.id: one for one in self.scan()}
        asyncio.run(
            self.log.trim(port.DEAD_LETTERS, 0, self.counts.edge(0, choice % (len(self.log.records[port.DEAD_LETTERS]) + 1)))
        )
        left = {one.letter.id for one in self.scan()}
        for id_, one in before.items():
            if id_ not in left:
                self.gone[one.letter.lane, _name(one.state)] += 1

    def check(self) -> None:
        asyncio.run(self.counts.look([0]))
        wanted: dict[str, collections.Counter[str]] = {lane: collections.Counter() for lane in LANES}
        categories: dict[str, collections.Counter[str]] = {lane: collections.Counter() for lane in LANES}
        for one in self.scan():
            wanted[one.letter.lane][_name(one.state)] += 1
            if one.state in selection.WAITING:
                categories[one.letter.lane][one.letter.category.value] += 1
        for (lane, name), count in self.gone.items():
            wanted[lane]["expired" if name == "outstanding" else name] += count
        for lane in LANES:
            told = self.counts.of(lane)
            found = {name: getattr(told, name) for name in ("outstanding", "replayed", "discarded", "expired")}
            assert {name: count for name, count in found.items() if count} == dict(wanted[lane])
            assert {name: count for name, count in told.by_category.items() if count} == dict(categories[lane])


def _name(state: selection.State) -> str:
    if state in selection.WAITING:
        return "outstanding"
    return "discarded" if state is selection.State.DISCARDED else "replayed"


ACTIONS: list[Callable[[World, int], None]] = [
    World.fail,
    World.commit,
    World.crash,
    World.replay,
    World.recover,
    World.fail_again,
    World.finish_replays,
    World.discard,
    World.wait,
    World.look,
    World.save,
    World.kill,
    World.trim,
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ACTIONS) | st.just(World.fail), st.integers(0, 59)), max_size=40))
@example([(World.fail, 2), (World.commit, 0), (World.replay, 1), (World.fail_again, 0), (World.finish_replays, 0)])
@example([(World.fail, 2), (World.crash, 0), (World.commit, 0), (World.look, 0)])
@example([(World.fail, 0), (World.commit, 0), (World.replay, 1), (World.fail_again, 1), (World.finish_replays, 0)])
@example([(World.fail, 1), (World.trim, 2), (World.kill, 0)])
@example([(World.fail, 1), (World.trim, 5)])
@example(
    [
        (World.fail, 2),
        (World.commit, 0),
        (World.replay, 1),
        (World.fail_again, 0),
        (World.look, 1),
        (World.crash, 0),
        (World.finish_replays, 0),
    ]
)
def test_the_counts_are_those_of_a_reading_of_the_whole_topic(told: list[tuple[Callable[[World, int], None], int]]) -> None:
    """Catches a letter written twice after a crash that counts twice, a second letter that leaves its first one replayed, a
    marker without a place, and anything that depends on when was counted, saved or killed."""
    world = World()
    for action, choice in told:
        action(world, choice)
    world.recover(0)
    world.check()


def test_a_look_costs_what_is_new_and_a_restart_what_was_not_saved() -> None:
    """Catches a scan of the topic with each status."""
    world = World()
    for number in range(40):
        world.fail(number)
    world.look(1)
    world.save(0)
    read = world.log.headers_read
    world.look(1)
    assert world.log.headers_read == read
    world.kill(0)
    world.fail(1)
    world.look(1)
    assert world.log.headers_read == read + 2
    world.check()


def test_letters_expire_when_all_of_their_stretch_is_gone() -> None:
    """Catches letters counted as expired that are still there, when something else than this process has trimmed the topic."""
    world = World()
    world.fail(1)
    world.look(1)
    [published, _] = [one.letter for one in world.scan()]
    for start, expired in ((1, 0), (2, 2)):
        world.log.starts[port.DEAD_LETTERS] = start
        world.look(1)
        assert (world.counts.of("n/p/b").expired, world.counts.of("n/p/b").outstanding) == (expired, 2 - expired)
    world.log.put_marker(published, markers.Kind.REPLAYED, 0, 0, told=True)
    world.look(1)
    assert (world.counts.of("n/p/b").expired, world.counts.of("n/p/b").replayed) == (1, 1)


def test_what_may_come_again_is_bounded(monkeypatch) -> None:
    """Catches an index that grows with the letters of a lane that stands still."""
    monkeypatch.setattr(tally, "MAX_UNSETTLED", 5)
    world = World()
    for number in range(0, 80, 2):
        world.fail(number)
    world.check()
    world.save(0)
    assert len(world.log.snapshots[counting.GROUP].content) < 2_000


def test_a_renamed_sink_takes_its_letters_along() -> None:
    """Catches letters that no lane in the status owns, and counts below zero once they were put back under the new name."""
    world = World()
    world.fail(0)
    world.check()
    world.save(0)
    world.counts = opened(world.log, {"n/p/a": "n/p/b"})
    asyncio.run(world.counts.look([0]))
    assert (world.counts.of("n/p/a").outstanding, world.counts.of("n/p/b").outstanding) == (0, 1)
