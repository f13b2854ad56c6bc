"""One writer at a time."""

from __future__ import annotations

import os

import pytest

from penstock.log import port
from penstock.log.embedded import front as embedded
from penstock.log.embedded import lock as embedded_lock


def test_the_second_writer_is_told_who_the_first_is(tmp_path):
    """Catches two writers, and a message that leaves the reader looking for the other one."""
    lock = embedded_lock.WriterLock.acquire(tmp_path / "log.db")
    with pytest.raises(port.LogLockedError, match=f"process {os.getpid()}"):
        embedded_lock.WriterLock.acquire(tmp_path / "log.db")
    lock.release()
    embedded_lock.WriterLock.acquire(tmp_path / "log.db").release()


def test_a_stale_process_id_locks_nobody_out(tmp_path):
    """Catches a lock that is the file's content instead of the system's."""
    (tmp_path / "log.db.lock").write_text("1\n")
    lock = embedded_lock.WriterLock.acquire(tmp_path / "log.db")
    assert (tmp_path / "log.db.lock").read_text() == f"{os.getpid()}\n"
    lock.release()


async def test_a_closed_log_can_be_opened_again_in_the_same_process(tmp_path):
    """Catches a lock that is kept after close, and one that a refused opening takes away from its holder."""
    log = await embedded.EmbeddedLog.open(tmp_path / "log.db")
    for _ in range(2):
        with pytest.raises(port.LogLockedError):
            await embedded.EmbeddedLog.open(tmp_path / "log.db")
    await log.close()
    await (await embedded.EmbeddedLog.open(tmp_path / "log.db")).close()
