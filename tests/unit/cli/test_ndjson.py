"""Lines become events, and an event's number leads back to its line."""

from __future__ import annotations

import os
import pathlib

import hypothesis
import pytest
from hypothesis import strategies as st

from penstock.cli import ndjson

LINES = st.lists(st.sampled_from([b"", b" ", b'{"a":1}', b"x", b"yy\r"]), max_size=40)


def read(
    content: bytes, path: pathlib.Path, *, events: int = 3, max_bytes: int = 20
) -> tuple[ndjson.LineReader, list[list[bytes]]]:
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        reader = ndjson.LineReader(descriptor, events=events, max_bytes=max_bytes)
        return reader, list(reader.batches())
    finally:
        os.close(descriptor)


@hypothesis.given(lines=LINES, ended=st.booleans())
@hypothesis.settings(max_examples=150)
def test_every_line_that_is_not_blank_is_an_event_that_knows_its_line(
    lines: list[bytes], ended: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Catches a last line without a line break that is dropped, and numbers that slip after a blank line."""
    content = b"\n".join(lines) + (b"\n" if ended else b"")
    reader, batches = read(content, tmp_path_factory.getbasetemp() / "lines")
    events = [event for batch in batches for event in batch]
    assert events == [line for line in content.split(b"\n") if line.strip()]
    assert [content.split(b"\n")[reader.line_of(number) - 1] for number in range(len(events))] == events
    assert all(0 < len(batch) <= 3 for batch in batches)


def test_a_batch_is_bounded_in_bytes(tmp_path: pathlib.Path) -> None:
    """Catches a request of thousands of large events, which no server would take."""
    _, batches = read(b"123456789\n" * 5 + b"x" * 50 + b"\n1\n", tmp_path / "lines", events=100)
    assert [len(batch) for batch in batches] == [2, 2, 1, 1, 1]


def test_a_line_that_no_pipeline_takes_is_named_and_its_neighbours_are_sent(tmp_path: pathlib.Path) -> None:
    """Catches one huge line that stops the whole file."""
    huge = b"x" * (ndjson.LARGEST_EVENT_BYTES + 1)
    reader, batches = read(b"a\n" + huge + b"\nb\n", tmp_path / "lines")
    assert batches == [[b"a", b"b"]]
    assert reader.oversized_lines == [2]
    assert reader.line_of(1) == 3


def test_what_came_through_a_pipe_is_passed_on_when_it_falls_silent() -> None:
    """Catches a reader that waits for a full batch: the last events of a slow source would never arrive."""
    out, into = os.pipe()
    batches = ndjson.LineReader(out, events=1000, max_bytes=1 << 20).batches()
    os.write(into, b"a\nb\nunfinish")
    assert next(batches) == [b"a", b"b"]
    os.write(into, b"ed\n")
    os.close(into)
    assert next(batches) == [b"unfinished"]
    assert next(batches, None) is None
    os.close(out)
