"""Programs that outlive their starter: are they found again, and is nobody else ever taken for them?"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest
from e2e.cluster.local import daemon

WAITS = [sys.executable, "-c", "import sys; print('here', flush=True); sys.stdin.read(); __import__('signal').pause()"]


@pytest.fixture
def one(tmp_path: pathlib.Path) -> Iterator[daemon.Daemon]:
    made = daemon.Daemon(name="one", directory=tmp_path)
    yield made
    made.stop()


def test_another_object_finds_the_program_and_ends_it(one: daemon.Daemon, tmp_path: pathlib.Path) -> None:
    """Catches a `down` that only knows what it has started itself."""
    one.start(WAITS)
    one.wait_until(lambda: "here" in one.last_words())
    again = daemon.Daemon(name="one", directory=tmp_path)
    assert again.alive()
    again.stop()
    assert not one.alive()
    os.wait()


def test_somebody_else_s_process_under_the_same_id_is_left_alone(one: daemon.Daemon, tmp_path: pathlib.Path) -> None:
    """Catches a `down` that kills by the id alone, which the system gives to others."""
    other = subprocess.Popen(WAITS, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        (tmp_path / "pids").mkdir()
        (tmp_path / "pids" / "one").write_text(f"{other.pid} 1")
        assert not one.alive()
        one.stop()
        assert other.poll() is None
    finally:
        other.kill()
        other.communicate()


def test_a_program_that_ends_before_it_is_ready_says_why(one: daemon.Daemon) -> None:
    """Catches a minute's wait for what is dead, and an error without its last words."""
    one.start([sys.executable, "-c", "raise SystemExit('no such flag')"])
    with pytest.raises(daemon.DaemonError, match="one ended\nno such flag"):
        one.wait_until(lambda: False)
    os.wait()


def test_a_dead_one_that_nobody_has_buried_is_not_alive(one: daemon.Daemon) -> None:
    """Catches a wait for a zombie, which the machine's first process may leave for long."""
    one.start(WAITS)
    one.stop()
    assert not one.alive()
    os.wait()
