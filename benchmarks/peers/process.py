"""A contender's process: on one core, its CPU time taken when it has ended, its children's included.

One core for each of a contender's processes together: that is the unit in which every one of them is scaled.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

_LIMIT_SECONDS = 600.0
_LOOK_SECONDS = 0.05
_SHOWN_LINES = 4
_SHOWN_CHARACTERS = 500


class ContenderError(Exception):
    """It did not do the job; the message says why."""


class Process:
    """One command in `folder`, started at once. `ended`, `stopped` or `kill` must follow."""

    def __init__(
        self, name: str, command: Sequence[str], folder: pathlib.Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log, _on_one_core():
            self._child = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._over = False

    def ended(self) -> float:
        """CPU seconds from its first to its last instruction, once it has ended by itself. Raises ContenderError."""
        deadline = time.monotonic() + _LIMIT_SECONDS
        while True:
            child, status, used = os.wait4(self._child.pid, os.WNOHANG)
            if child:
                self._over, self._child.returncode = True, os.waitstatus_to_exitcode(status)
                break
            if time.monotonic() > deadline:
                self.kill()
                raise ContenderError(f"{self.name} was not done after {_LIMIT_SECONDS:.0f} s: {self.last_words()}")
            time.sleep(_LOOK_SECONDS)
        if self._child.returncode:
            raise ContenderError(f"{self.name} ended with {self._child.returncode}: {self.last_words()}")
        return used.ru_utime + used.ru_stime

    def stopped(self) -> float:
        """As `ended`, after a SIGTERM."""
        self._child.send_signal(signal.SIGTERM)
        return self.ended()

    def wait_until(
        self, condition: Callable[[], bool], seconds: float = _LIMIT_SECONDS, look_seconds: float = _LOOK_SECONDS
    ) -> None:
        """Raises ContenderError when it ends before, or after `seconds`."""
        deadline = time.monotonic() + seconds
        while not condition():
            if os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                raise ContenderError(f"{self.name} ended too early: {self.last_words()}")
            if time.monotonic() > deadline:
                raise ContenderError(f"{self.name} was not there after {seconds:.0f} s: {self.last_words()}")
            time.sleep(look_seconds)

    def kill(self) -> None:
        """With all of its children. Does nothing when it has ended."""
        if not self._over:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
            self._over = True

    def last_words(self) -> str:
        """The first line and the last ones of its log, without the places of a stack trace."""
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines()]
        told = [line for line in lines if line and not line.startswith(("at ", "... ", "File "))]
        return " | ".join(told if len(told) < _SHOWN_LINES else [told[0], *told[1 - _SHOWN_LINES :]])[:_SHOWN_CHARACTERS]


@contextlib.contextmanager
def _on_one_core() -> Iterator[None]:
    """Children started inside may use the last core only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
