"""The demo's processes: a pipeline and a sender beside it, started, watched, and killed where a test wants that.

Both are the commands a user has, `penstock run` and `penstock send`; nothing here reaches into them but over the control
socket.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import pathlib
import shutil
import subprocess
import sys
import types
from typing import Any

import pyarrow as pa

from penstock.cli import background
from penstock.machine import directory
from penstock.v1 import control_pb2

EXAMPLE = pathlib.Path(__file__).resolve().parents[3] / "examples" / "flights"


class DemoError(Exception):
    """The demo can't go on; the message says why and shows the end of the log that tells more."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a run came to; written to build/demo/summary.json."""

    events: int
    rejected: int
    duplicates: int
    rows: int
    filtered: int
    written: int
    dead_lettered: int
    unexplained: int
    lost: int
    seconds: float
    cpu_seconds: float
    query_matches: bool


def example(module: str) -> types.ModuleType:
    """A module of the example: `flights` has the events, the query and the right answer, `archive` the source."""
    if not EXAMPLE.is_dir():
        raise DemoError(f"the demo runs from a checkout: {EXAMPLE} is not there")
    if str(EXAMPLE) not in sys.path:
        sys.path.insert(0, str(EXAMPLE))
    return importlib.import_module(module)


class DemoRun:
    """One run in `build`/run, which is emptied first. `close` ends what is still running."""

    def __init__(
        self,
        build: pathlib.Path,
        events: pathlib.Path,
        *,
        pipeline: pathlib.Path = EXAMPLE / "pipeline.yaml",
        events_per_request: int = 200,
    ) -> None:
        shutil.rmtree(build / "run", ignore_errors=True)
        self._path, self._events = build / "run", events
        self._events_per_request = events_per_request
        self._path.mkdir(parents=True)
        self._pipeline = background.Pipeline(self._path, pipeline)
        self._sender: subprocess.Popen[bytes] | None = None
        self._cpu_before = 0.0

    # -- the pipeline

    @property
    def data(self) -> directory.DataDirectory:
        return self._pipeline.data

    def start_pipeline(self) -> None:
        """Return when it answers. Raises DemoError."""
        try:
            self._pipeline.start()
        except background.StartError as error:
            raise DemoError(str(error)) from error

    def kill_pipeline(self) -> None:
        """kill -9, and wait until it is gone."""
        if self._pipeline.last:
            self._cpu_before += self._pipeline.last.cpu_seconds
        self._pipeline.kill()

    def stop_pipeline(self) -> int:
        """Ctrl-C, as a user would; the exit code."""
        return self._pipeline.stop()

    def status(self) -> control_pb2.StatusResponse | None:
        """What the pipeline says of itself, None while it does not answer."""
        return self._pipeline.status()

    def query(self, sql: str) -> pa.Table:
        """Ask the landed table."""
        return self._pipeline.query(sql)

    def dead_letters(self) -> str:
        """What `penstock dlq ls` says."""
        shown = subprocess.run(  # noqa: S603 - our own command with our own arguments
            [sys.executable, "-m", "penstock.cli.main", "dlq", "ls", f"--data={self.data.path}", "--limit=5"],
            capture_output=True,
            text=True,
            check=False,
        )
        return shown.stdout + shown.stderr

    # -- the sender

    def start_sender(self) -> None:
        target = f"--to=127.0.0.1:{self._pipeline.ports['grpc']}"
        size = f"--batch={self._events_per_request}"
        self._sender = background.spawn(
            self._path, "sender", "send", str(self._events), target, "--cursor=cursor.json", size, "-o", "json"
        )

    def kill_sender(self) -> None:
        if self._sender:
            self._sender.kill()
            self._sender.wait()

    @property
    def sender_done(self) -> bool:
        return self._sender is not None and self._sender.poll() is not None

    @property
    def sent(self) -> dict[str, Any]:
        """The sender's own totals, after it is done. Raises DemoError when it gave up."""
        text = (self._path / "sender.out").read_text()
        if not text.strip():
            raise DemoError(f"the sender gave up:\n{self.log_tail('sender')}")
        told: dict[str, Any] = json.loads(text)
        return told

    # -- the end

    def is_settled(self, status: control_pb2.StatusResponse | None) -> bool:
        """Whether all that was acknowledged has its outcome."""
        if status is None or not self.sender_done:
            return False
        return all(background.is_idle(lane) for lane in status.lanes)

    @property
    def cpu_seconds(self) -> float:
        """CPU of all pipeline processes of this run, as far as they were seen."""
        last = self._pipeline.last
        return self._cpu_before + (last.cpu_seconds if last else 0.0)

    def log_tail(self, name: str, lines: int = 20) -> str:
        return "\n".join((self._path / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])

    def close(self) -> None:
        """End both processes, gently first."""
        if self._sender and self._sender.poll() is None:
            self.kill_sender()
        self._pipeline.close()


def summarize(run: DemoRun, status: control_pb2.StatusResponse, *, seconds: float, matches: bool) -> Summary:
    """The figures of a settled run."""
    ledger = status.lanes[0].ledger
    return Summary(
        events=ledger.events_read,
        rejected=int(run.sent["rejected"]),
        duplicates=ledger.events_duplicate,
        rows=ledger.rows_made,
        filtered=ledger.rows_filtered,
        written=ledger.rows_written,
        dead_lettered=ledger.rows_dead_lettered + ledger.events_dead_lettered,
        unexplained=ledger.unexplained,
        lost=ledger.events_lost,
        seconds=round(seconds, 2),
        cpu_seconds=round(run.cpu_seconds, 2),
        query_matches=matches,
    )
