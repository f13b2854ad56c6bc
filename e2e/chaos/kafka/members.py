"""The processes of one pipeline: each a copy of the zygote with doors of its own, asked over its control address."""

from __future__ import annotations

import pathlib
import signal
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence

from e2e.chaos import processes
from penstock.cli import background, control, exits
from penstock.v1 import control_pb2

_CALL_SECONDS = 5.0
_END_SECONDS = 60.0


class Member:
    """One command in `path`, over its lives. What it says goes to NAME.log."""

    def __init__(
        self,
        nursery: processes.Nursery,
        path: pathlib.Path,
        name: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        doors: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.ports = {door: background.free_port() for door in ("control", "metrics", *doors)}
        self._nursery, self._path, self._environment = nursery, path, environment
        self._arguments = [*arguments, *(f"--{door}=127.0.0.1:{port}" for door, port in self.ports.items())]
        self.process: processes.Process | None = None

    def start(self, failpoints: str = "") -> None:
        """Start it, and don't wait for it."""
        environment = {**self._environment, "PENSTOCK_FAILPOINTS": failpoints}
        self.process = self._nursery.start(self._path, self.name, self._arguments, environment)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.wait(0.0) is None

    def kill(self) -> None:
        if self.process:
            self.process.kill()

    def signal(self, number: signal.Signals) -> None:
        if self.process:
            self.process.signal(number)

    def died_within(self, seconds: float) -> bool:
        """Wait for an end by SIGKILL."""
        return self.process is not None and self.process.wait(seconds) == -signal.SIGKILL

    def stop(self) -> int | None:
        """SIGTERM; the exit code, None when it did not end."""
        self.signal(signal.SIGTERM)
        return self.process.wait(_END_SECONDS) if self.process else 0

    @property
    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['metrics']}/readyz", timeout=_CALL_SECONDS) as answer:
                return int(answer.status) == 200
        except OSError:
            return False

    def lanes(self) -> list[control_pb2.LaneStatus]:
        """What its lanes say; nothing while it does not answer."""
        try:
            with control.connected(f"127.0.0.1:{self.ports['control']}") as stub:
                return list(stub.Status(control_pb2.StatusRequest(), timeout=_CALL_SECONDS).lanes)
        except (control.NotRunningError, exits.Unreachable, exits.Invalid):
            return []

    @property
    def said(self) -> str:
        log = self._path / f"{self.name}.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def tail(self, lines: int = 12) -> str:
        """The end of what it has said."""
        return "\n".join([f"-- {self.name}", *self.said.splitlines()[-lines:]])
