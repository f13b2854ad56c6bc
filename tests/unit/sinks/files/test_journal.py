"""The journal of a Files directory."""

import pytest
from tests.unit.sinks import writes

from penstock.core import results
from penstock.sinks import port
from penstock.sinks.files import journal as files_journal


def intent(start, end):
    return files_journal.Intent(
        lane="l", table="t", landed=[writes.span(0, start), writes.span(start + 1, end)], moves=[(f"tmp/{start}", f"{start}")]
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal"


def written(path, *intents):
    journal = files_journal.Journal(path)
    for item in intents:
        journal.append(item)
    journal.close()


def read(path):
    journal = files_journal.Journal(path)
    journal.close()
    return journal


def test_what_was_appended_is_read_again(path):
    """Catches a range or a move that is written one way and read another."""
    written(path, intent(3, 9), intent(4, 12))
    journal = read(path)
    assert journal.intents == [intent(3, 9), intent(4, 12)]
    assert journal.landed.of("l", "t") == intent(4, 12).landed


def test_folding_keeps_what_has_landed_and_forgets_how(path):
    """Catches a fold that loses ranges, and appends that go to the file that was replaced."""
    journal = files_journal.Journal(path)
    journal.append(intent(3, 9))
    journal.fold()
    assert journal.intents == []
    journal.append(intent(5, 12))
    journal.close()
    again = read(path)
    assert again.intents == [intent(5, 12)]
    assert again.landed.of("l", "t") == intent(5, 12).landed


def test_wherever_the_last_line_is_torn_it_is_dropped_and_the_rest_kept(path):
    """Catches a torn end that stops the start, or that is read as a record, or that is left for the next append to join."""
    written(path, intent(3, 9))
    kept = path.read_bytes()
    written(path, intent(5, 12))
    whole = path.read_bytes()
    for length in range(len(kept), len(whole)):
        path.write_bytes(whole[:length])
        written(path, intent(6, 14))
        assert read(path).intents == [intent(3, 9), intent(6, 14)]
        path.write_bytes(kept)


@pytest.mark.parametrize("tail", [b"\0" * 300, b"garbage\n", b"00000000 2 {}\n"], ids=str)
def test_an_end_that_never_was_a_record_is_dropped(path, tail):
    """Catches blocks that the file system had added to the file but not filled before the power went."""
    written(path, intent(3, 9))
    with path.open("ab") as file:
        file.write(tail)
    assert read(path).intents == [intent(3, 9)]


def test_damage_before_the_end_is_refused(path):
    """Catches a journal that is silently cut in the middle: what landed after that place would land twice."""
    written(path, intent(3, 9), intent(5, 12))
    whole = path.read_bytes()
    for place in range(0, whole.rindex(b"\n", 0, -1), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(port.SinkError, match="damaged at byte") as caught:
            read(path)
        assert caught.value.failure.result_class is results.ResultClass.CONFIG


@pytest.mark.parametrize("content", [b"", b"\n", b"\0" * 64])
def test_a_journal_without_its_first_line_is_refused(path, content):
    """Catches an emptied journal taken for a new one."""
    path.write_bytes(content)
    with pytest.raises(port.SinkError, match="JOURNAL_DAMAGED"):
        read(path)


def test_a_newer_format_is_refused_by_name(path):
    """Catches a journal of a newer version misread by an older one after a roll-back."""
    path.write_bytes(files_journal._line(files_journal._Format(2)) + b"rest in a form of its own")
    with pytest.raises(port.SinkError, match="has format 2"):
        read(path)
