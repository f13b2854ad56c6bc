"""A program that outlives the command which starts it, known afterwards by a file that holds its id.

Its state is thrown away with it, so it is ended by SIGKILL. A process id alone may by then belong to somebody else: the file also
holds when the program was started.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import time
from collections.abc import Callable, Sequence

_PATIENCE_SECONDS = 180.0
_LOOK_SECONDS = 0.05
_LAST_LINES = 40


class DaemonError(Exception):
    """A program that did not come up or did not go; the message ends with its log."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """`name` among those of `directory`, where its log and its id are."""

    name: str
    directory: pathlib.Path

    @property
    def log(self) -> pathlib.Path:
        return self.directory / "logs" / f"{self.name}.log"

    def start(self, command: Sequence[str]) -> None:
        """Return at once; it need not be ready."""
        for folder in (self.log.parent, self._file.parent):
            folder.mkdir(parents=True, exist_ok=True)
        # Not by subprocess, which minds its children.
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(self.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        pid = os.posix_spawnp(command[0], list(command), os.environ, file_actions=files, setsid=True)
        self._file.write_text(f"{pid} {_started(pid)}")

    def alive(self) -> bool:
        """A dead one that nobody has buried yet is not."""
        return self._pid() is not None

    def stop(self) -> None:
        pid = self._pid()
        if pid is not None:
            kill(pid)
        self._file.unlink(missing_ok=True)

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Raises DaemonError after three minutes, or when it ends before."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not ready():
            if not self.alive():
                raise DaemonError(f"{self.name} ended\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise DaemonError(f"{self.name} was not ready after {_PATIENCE_SECONDS:.0f} s\n{self.last_words()}")
            time.sleep(_LOOK_SECONDS)

    def last_words(self) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-_LAST_LINES:])

    @property
    def _file(self) -> pathlib.Path:
        return self.directory / "pids" / self.name

    def _pid(self) -> int | None:
        try:
            pid, started = self._file.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if _started(int(pid)) == started != "" else None


def kill(pid: int) -> None:
    """SIGKILL, and wait until it is gone or only waits to be buried. Raises DaemonError when it doesn't go."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while _started(pid):
        if time.monotonic() > deadline:
            raise DaemonError(f"process {pid} is still there {_PATIENCE_SECONDS:.0f} s after SIGKILL")
        time.sleep(_LOOK_SECONDS)


def _started(pid: int) -> str:
    """When, in the kernel's ticks; "" for what does not run."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]
