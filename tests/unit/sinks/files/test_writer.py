"""The Files destination."""

import errno
import os
import pathlib

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from tests.unit.sinks import writes

from penstock.core import results
from penstock.sinks import durable, port
from penstock.sinks.files import formats as files_format
from penstock.sinks.files import writer as files


@pytest.fixture
async def writer(tmp_path):
    opened = files.FilesWriter(tmp_path / "lake")
    yield opened
    await opened.close()


def found(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*.parquet"))


async def test_readers_find_partitions_and_nothing_of_our_own(tmp_path):
    """Catches temporaries or the journal where a reader looks, and values that it can't decode."""
    writer = files.FilesWriter(tmp_path, partitions=["dt", "kind"])
    rows = pa.table({"id": [1, 2, 3], "dt": ["2026-01-01", None, "a/b"], "kind": ["x", "x", "é"]})
    await writer.describe(writes.LANE, "", rows.schema)
    assert (await writer.write(writes.batch(rows, writes.span(0, 3)))).written == 3
    await writer.close()
    read = ds.dataset(tmp_path, partitioning="hive").to_table().sort_by("id").to_pydict()
    assert read == {"id": [1, 2, 3], "dt": ["2026-01-01", None, "a/b"], "kind": ["x", "x", "é"]}


async def test_a_files_name_says_which_rows_are_in_it(tmp_path):
    """Catches names by clock or chance: a retry elsewhere would leave two files with the same rows."""
    names = []
    for place, ranges in (("a", [(3, 5)]), ("b", [(3, 5)]), ("c", [(3, 4), (4, 5)]), ("d", [(3, 6)])):
        writer = files.FilesWriter(tmp_path / place)
        await writer.write(writes.batch(writes.numbered(3, 5), *(writes.span(*one) for one in ranges)))
        await writer.close()
        names.append(found(tmp_path / place))
    assert names[0] == names[1] == names[2] != names[3]
    assert names[0][0].startswith("0000-000000000003-")


async def test_rows_whose_folder_can_not_be_named_are_rejected(tmp_path):
    """Catches one long value that stops the lane, and a write that lands in part."""
    writer = files.FilesWriter(tmp_path, partitions=["dt"])
    rows = pa.table({"id": [1, 2, 3], "dt": ["a", "x" * 300, "a"]})
    answer = await writer.write(writes.batch(rows, writes.span(0, 3)))
    assert [row.row for row in answer.rejected] == [1]
    assert found(tmp_path) == []
    assert (await writer.write(writes.batch(rows.take([0, 2]), writes.span(0, 3)))).written == 2
    await writer.close()


async def test_a_type_the_format_does_not_have_is_found_before_the_first_write(writer):
    """Catches a lane that accepts a schema and then fails at every write."""
    with pytest.raises(port.SinkError, match="COLUMN_TYPE"):
        await writer.describe(writes.LANE, "", pa.schema([("a", pa.month_day_nano_interval())]))


async def test_one_writer_per_directory(tmp_path, writer):
    """Catches two sinks of one pipeline in one directory, each removing the other's temporary files."""
    await writer.describe(writes.LANE, "", writes.numbered(0, 0).schema)
    second = files.FilesWriter(tmp_path / "lake")
    with pytest.raises(port.SinkError, match="another sink") as caught:
        await second.describe(writes.LANE, "", writes.numbered(0, 0).schema)
    assert caught.value.failure.result_class is results.ResultClass.CONFIG
    await second.close()


@pytest.mark.parametrize("step", ["temporary", "complete", "intended", "moved"])
@pytest.mark.parametrize(
    ("number", "result_class"), [(errno.ENOSPC, results.ResultClass.OUTAGE), (errno.EACCES, results.ResultClass.CONFIG)]
)
async def test_after_an_error_at_any_step_the_retry_lands_each_row_once(tmp_path, step, number, result_class):
    """Catches an intent that is answered as landed although its files are not in place, and leftovers that add up."""
    faults = iter([OSError(number, os.strerror(number))])

    def failing(at):
        if at == step:
            for fault in faults:
                raise fault

    writer = files.FilesWriter(tmp_path, failpoint=failing)
    batch = writes.batch(writes.numbered(0, 3), writes.span(0, 3))
    with pytest.raises(port.SinkError) as caught:
        await writer.write(batch)
    assert caught.value.failure.result_class is result_class
    again = await writer.write(batch)
    assert (again.written, list(again.already_landed)) in [(3, []), (0, [writes.span(0, 3)])]
    assert ds.dataset(tmp_path).to_table().column("id").to_pylist() == [0, 1, 2]
    assert list((tmp_path / "_penstock" / "tmp").iterdir()) == []
    await writer.close()


@pytest.mark.parametrize("step", ["temporary", "complete", "intended", "moved"])
async def test_after_an_error_at_any_step_a_retry_cut_differently_lands_each_row_once(tmp_path, step):
    """Catches files that are moved into place before the intent is durable: nothing would say later what is in them."""
    faults = iter([OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])

    def failing(at):
        if at == step:
            for fault in faults:
                raise fault

    writer = files.FilesWriter(tmp_path, failpoint=failing)
    with pytest.raises(port.SinkError):
        await writer.write(writes.batch(writes.numbered(0, 3), writes.span(0, 3)))
    await writer.close()
    writer = files.FilesWriter(tmp_path)
    answer = await writer.write(writes.batch(writes.numbered(0, 5), writes.span(0, 5)))
    if answer.already_landed:
        assert list(answer.already_landed) == [writes.span(0, 3)]
        await writer.write(writes.batch(writes.numbered(3, 5), writes.span(3, 5)))
    assert sorted(ds.dataset(tmp_path).to_table().column("id").to_pylist()) == [0, 1, 2, 3, 4]
    await writer.close()


async def test_what_no_intent_speaks_of_is_removed_at_the_start(tmp_path):
    """Catches temporary files of killed writes that fill the disk, one start after the other."""
    leftover = tmp_path / "_penstock" / "tmp" / "0000-000000000000-abc.0"
    durable.make_directory(leftover.parent)
    leftover.write_bytes(b"half a file")
    writer = files.FilesWriter(tmp_path)
    await writer.describe(writes.LANE, "", writes.numbered(0, 0).schema)
    await writer.close()
    assert not leftover.exists()


async def test_a_file_taken_away_by_its_owner_is_not_missed(tmp_path):
    """Catches a start that fails, or that lands rows again, because somebody moved old files to another place."""
    batch = writes.batch(writes.numbered(0, 3), writes.span(0, 3))
    for expected in (3, 0):
        writer = files.FilesWriter(tmp_path)
        assert (await writer.write(batch)).written == expected
        await writer.close()
        for name in found(tmp_path):
            (tmp_path / name).unlink()


async def test_the_journal_is_folded_from_time_to_time(tmp_path, monkeypatch):
    """Catches a journal that grows with every write."""
    monkeypatch.setattr("penstock.sinks.files.session._INTENTS_KEPT", 3)
    writer = files.FilesWriter(tmp_path, format_=files_format.Format.NDJSON)
    sizes = []
    for offset in range(7):
        await writer.write(writes.batch(writes.numbered(offset, offset + 1), writes.span(offset, offset + 1)))
        sizes.append((tmp_path / "_penstock" / "journal").stat().st_size)
    await writer.close()
    assert sizes[2] == sizes[5] < sizes[1]


async def test_files_can_not_be_queried(writer):
    """Catches a query that ends in an error nobody can act on."""
    with pytest.raises(port.SinkError, match="NOT_QUERYABLE"):
        await writer.query("SELECT 1")


async def test_everything_is_on_disk_before_something_points_to_it(tmp_path, monkeypatch):
    """Catches a sync that is left out, which no kill shows and power loss does: names without contents, or the reverse."""
    writer, done, fsync, replace = files.FilesWriter(tmp_path), [], os.fsync, pathlib.Path.replace
    await writer.describe(writes.LANE, "", writes.numbered(0, 0).schema)

    def noted_sync(descriptor):
        done.append(("sync", pathlib.Path(f"/proc/self/fd/{descriptor}").resolve().relative_to(tmp_path).as_posix()))
        fsync(descriptor)

    def noted_replace(source, target):
        done.append(("move", source.relative_to(tmp_path).as_posix()))
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(pathlib.Path, "replace", noted_replace)
    await writer.write(writes.batch(writes.numbered(0, 1), writes.span(0, 1)))
    await writer.close()
    temporary = done[0][1]
    assert temporary.startswith("_penstock/tmp/")
    assert done == [
        ("sync", temporary),
        ("sync", "_penstock/tmp"),
        ("sync", "_penstock/journal"),
        ("move", temporary),
        ("sync", "."),
        ("sync", "_penstock/tmp"),
    ]


def test_directories_are_made_with_what_is_missing_above(tmp_path):
    """Catches a relative or nested path that fails on its second level."""
    durable.make_directory(tmp_path / "a" / "b" / "c")
    durable.make_directory(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
