"""Processes of the pipeline: started as copies of the zygote, killed, stopped, waited for."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from e2e.chaos import zygote

_EVERYTHING_BYTES = 1e15
_ROOT = pathlib.Path(__file__).parents[2]


class Process:
    """One copy. Everything here is by its own id."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery, self.pid = nursery, pid
        self._handle = os.pidfd_open(pid)
        self.code: int | None = None

    def signal(self, number: signal.Signals) -> None:
        if self.code is None:
            signal.pidfd_send_signal(self._handle, number)

    def wait(self, timeout_seconds: float) -> int | None:
        """Its exit code, as `subprocess` has it; None when it still runs."""
        if self.code is None:
            ended, _, _ = select.select([self._handle], [], [], timeout_seconds)
            if ended:
                self.code = self._nursery.reap(self.pid)
                os.close(self._handle)
        return self.code

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait(60.0)


class Nursery:
    """The zygote. Use as a context: no copy outlives it."""

    def __init__(self, path: pathlib.Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._shared = path / "shared"
        self.shift(0.0)
        self._turn = threading.Lock()
        paths = os.pathsep.join((str(_ROOT / "services"), str(_ROOT)))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "e2e.chaos.zygote", str(self._shared)],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"},
        )
        if self._read() != "ready":
            raise RuntimeError("the zygote did not start")

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait(timeout=30)
        self._process.stdout.close()  # type: ignore[union-attr]

    def shift(self, seconds: float) -> None:
        """Set the wall clock of all copies, also of those that run, so far ahead or back."""
        self._tell(seconds, 0.0)

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """Meanwhile all copies that ask are told that there is no room on any disk."""
        self._tell(0.0, _EVERYTHING_BYTES)
        try:
            yield
        finally:
            self._tell(0.0, 0.0)

    def _tell(self, seconds: float, taken_bytes: float) -> None:
        with self._shared.open("r+b" if self._shared.exists() else "wb") as file:
            file.write(zygote.SHARED.pack(seconds, taken_bytes))

    def start(
        self, path: pathlib.Path, name: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> Process:
        """A `penstock` command in `path`; what it says goes to NAME.out and NAME.log."""
        order = {
            "arguments": list(arguments),
            "cwd": str(path),
            "out": str(path / f"{name}.out"),
            "err": str(path / f"{name}.log"),
            "env": dict(environment or {}),
        }
        return Process(self, int(self._ask(order)))

    def reap(self, pid: int) -> int:
        """The exit code of a copy that has ended."""
        return int(self._ask({"reap": pid}))

    def _ask(self, order: dict[str, Any]) -> str:
        with self._turn:
            self._process.stdin.write(json.dumps(order) + "\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
            return self._read()

    def _read(self) -> str:
        return self._process.stdout.readline().strip()  # type: ignore[union-attr]
