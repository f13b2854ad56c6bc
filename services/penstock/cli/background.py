"""`penstock run` as a process in the background: started, asked over its control socket, stopped or killed.

The demo and the tests drive a pipeline through what a user has, the command line and the socket, and through nothing else.
"""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

import pyarrow as pa
from pyarrow import ipc

from penstock.cli import control, exits
from penstock.machine import directory
from penstock.v1 import control_pb2

_START_SECONDS = 60.0
_CALL_SECONDS = 10.0
_QUERY_SECONDS = 60.0
_STOP_SECONDS = 60.0
_LOOK_SECONDS = 0.05


class StartError(Exception):
    """The pipeline did not come up; the message shows the end of what it said."""


def free_port() -> int:
    """A port of 127.0.0.1. The system gives it to nobody else for a minute, as it has just had a connection (TIME_WAIT)."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        port = int(server.getsockname()[1])
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()  # Whoever closes first is the one who waits.
    return port


def spawn(path: pathlib.Path, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A `penstock` command in `path`; what it prints goes to NAME.out, which is emptied, and NAME.log, which is not."""
    with (path / f"{name}.log").open("ab") as log, (path / f"{name}.out").open("wb") as out:
        return subprocess.Popen(  # noqa: S603 - our own command with our own arguments
            [sys.executable, "-m", "penstock.cli.main", *arguments],
            cwd=path,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=log,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )


class Pipeline:
    """The pipeline of `file`, run in the directory `path` on ports of its own; its data is in `path`/data."""

    def __init__(self, path: pathlib.Path, file: pathlib.Path, *, options: Sequence[str] = ()) -> None:
        self.path, self.file, self._options = path, file, options
        self.ports = {door: free_port() for door in ("http", "grpc", "metrics")}
        # Absolute, because the process runs in `path` and this one elsewhere.
        self.data = directory.DataDirectory(path.absolute() / "data")
        self.process: subprocess.Popen[bytes] | None = None
        self.last: control_pb2.StatusResponse | None = None
        """The newest status that was seen."""

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it, and don't wait for it."""
        doors = [f"--{door}=127.0.0.1:{port}" for door, port in self.ports.items()]
        self.process = spawn(self.path, "pipeline", "run", str(self.file), f"--data={self.data.path}", *doors, *self._options)
        return self.process

    def start(self) -> None:
        """Return when it answers and its lanes know what they have done. Raises StartError."""
        process = self.spawn()
        deadline = time.monotonic() + _START_SECONDS
        while (status := self.status()) is None or any(lane.state == "Starting" for lane in status.lanes):
            if process.poll() is not None or time.monotonic() > deadline:
                raise StartError(f"the pipeline did not start:\n{self.log_tail()}")
            time.sleep(_LOOK_SECONDS)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Ctrl-C, as a user would; the exit code. Raises subprocess.TimeoutExpired."""
        if self.process is None or self.process.poll() is not None:
            return 0
        self.process.send_signal(number)
        return self.process.wait(timeout=_STOP_SECONDS)

    def close(self) -> None:
        """End it, gently first."""
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.kill()

    def status(self) -> control_pb2.StatusResponse | None:
        """What the pipeline says of itself, None while it does not answer."""
        try:
            with control.connected(self.data) as stub:
                self.last = stub.Status(control_pb2.StatusRequest(), timeout=_CALL_SECONDS)
        except (control.NotRunningError, exits.Unreachable):
            return None
        return self.last

    def query(self, sql: str, sink: str = "") -> pa.Table:
        """Ask the landed table."""
        with control.connected(self.data) as stub:
            chunks = list(stub.Query(control_pb2.QueryRequest(sql=sql, sink=sink), timeout=_QUERY_SECONDS))
        return ipc.open_stream(b"".join(chunk.chunk for chunk in chunks)).read_all()

    def log_tail(self, lines: int = 20) -> str:
        """The end of what it has said so far."""
        return "\n".join((self.path / "pipeline.log").read_text(errors="replace").splitlines()[-lines:])


def is_idle(lane: control_pb2.LaneStatus) -> bool:
    """Whether everything the lane's log holds has its outcome."""
    return lane.state != "Starting" and not lane.lag.events and not lane.ledger.rows_in_flight
