"""One server as a child process: started, waited for, stopped by its id, its log kept for whoever asks why.

A server ends with the process that started it, also when that is killed.
"""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.02
# In a program of its own: what a child does between fork and exec may not survive the threads of whoever started it.
_BECOME = """
import ctypes, os, pwd, sys
number, user, *command = sys.argv[1:]
if user:
    found = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(found.pw_gid)
    os.setuid(found.pw_uid)
if int(number) and sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(number))
os.execvp(command[0], command)
"""
# "Parent" means the thread that started the child: one that lives as long as the process.
_STARTER = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="server-starter")


class ServerError(Exception):
    """The server did not come up, or did not go; the message ends with its log."""


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Whether anybody listens on `port`."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


def command_of(command: Sequence[str], user: str | None, signal_with_parent: int = 0) -> list[str]:
    """What runs `command` as this user, who is sent the signal when the starting thread ends."""
    return [sys.executable, "-I", "-S", "-c", _BECOME, str(int(signal_with_parent)), user or "", *command]


class Process:
    """`command`, run anew by each `start`. `end_with` is the signal that stops it with all of its children."""

    def __init__(
        self,
        command: Sequence[str],
        log: pathlib.Path,
        ready: Callable[[], bool],
        *,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        end_with: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.log = log
        self._command = command
        self._ready = ready
        self._environment = environment
        self._user = user
        self._end_with = end_with
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """Of the one started last."""
        if self._child is None:
            raise ServerError(f"{self._command[0]} has not been started")
        return self._child.pid

    def start(self) -> None:
        """Return when it is ready. Raises ServerError after a minute, or when it ends before."""
        self._child = _STARTER.submit(self._spawn).result()
        self.wait_until(self._ready)

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command_of(self._command, self._user, self._signal_with_parent),
                cwd=self.log.parent,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not condition():
            if self._child is None or self._child.poll() is not None:
                raise ServerError(f"{self._command[0]} ended\n{self.last_words()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerError(f"{self._command[0]} was not ready after {_PATIENCE_SECONDS} s\n{self.last_words()}")
            time.sleep(_LOOK_SECONDS)

    def stop(self) -> None:
        """Ask it to end, then make it. Does nothing when it has ended."""
        self._signal(signal.SIGCONT)
        self._signal(self._end_with)
        if self._child:
            try:
                self._child.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        if self._child:
            self._child.wait()

    def suspend(self) -> None:
        """It keeps its connections and answers nothing, until `resume`. Returns when its last thread has stopped."""
        self._signal(signal.SIGSTOP)
        if self._child and self.running:
            os.waitid(os.P_PID, self._child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def last_words(self, lines: int = 60) -> str:
        """The end of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def _signal(self, number: signal.Signals) -> None:
        if self._child and self._child.poll() is None:
            self._child.send_signal(number)

    @property
    def _signal_with_parent(self) -> signal.Signals:
        return self._end_with if self._end_with is not signal.SIGTERM else signal.SIGKILL
