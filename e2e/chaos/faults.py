"""Faults of the machine and of whoever runs it: signals, full disks, clocks, a second process, files put back or cut."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator

from e2e.chaos import site, stage
from e2e.checker import verdict

_MIB = 1 << 20
_HOUR_SECONDS = 3600.0


def terminated(told: stage.Stage) -> verdict.Verdict:
    """SIGTERM under load: it drains, exits 0, and the next start goes on."""
    told.how = "SIGTERM under load; the exit code is 0"
    with told.site() as here:
        here.start()
        here.load()
        for _ in range(told.scale.rounds):
            here.go_on(200)
            if code := here.stop(signal.SIGTERM):
                raise site.StuckError(f"exit code {code}:\n{here.pipeline.log_tail()}")
            told.times += 1
            ended = time.monotonic()
            here.start()
            here.recovered(ended)
        return here.judge()


def stopped(told: stage.Stage) -> verdict.Verdict:
    """SIGSTOP: clients give up waiting and send again; then it goes on where it was."""
    told.how = f"SIGSTOP for {told.scale.stop_seconds:g} s under load"
    with told.site() as here:
        here.start()
        here.load()
        here.go_on(200)
        assert here.process
        here.process.signal(signal.SIGSTOP)
        time.sleep(told.scale.stop_seconds)
        here.process.signal(signal.SIGCONT)
        told.times += 1
        here.recovered(time.monotonic())
        return here.judge()


def second_process(told: stage.Stage) -> verdict.Verdict:
    """Another process on the same data directory is refused and disturbs nothing."""
    told.how = "a second `penstock run` on the same directory; it ends with a code and a reason"
    with told.site() as here:
        here.start()
        here.load()
        here.go_on(100)
        for _ in range(told.scale.rounds):
            arguments = ["run", str(here.file), f"--data={here.pipeline.data.path}"]
            doors = [f"--{door}=127.0.0.1:0" for door in here.pipeline.ports]
            other = here.nursery.start(here.path, "second", [*arguments, *doors])
            code = other.wait(site.PATIENCE_SECONDS)
            said = (here.path / "second.log").read_text()
            if code in (0, None) or "is being written by process" not in said:
                raise site.StuckError(f"the second process ended with {code}:\n{said}")
            told.times += 1
        here.recovered(time.monotonic())
        return here.judge()


def clock_jumped(told: stage.Stage) -> verdict.Verdict:
    """The wall clock jumps an hour ahead, then two back, under a running process and across kill -9."""
    told.how = (
        "wall clock an hour ahead, then an hour back, under load and across kill -9; the window of the deduplication is 4 h"
    )
    with told.site() as here:
        here.start()
        here.load()
        for shift in (_HOUR_SECONDS, -_HOUR_SECONDS) * told.scale.rounds:
            here.go_on(100)
            here.nursery.shift(shift)
            told.times += 1
            here.recovered(time.monotonic())
            here.process.kill()  # type: ignore[union-attr]
            here.sample()
            died = time.monotonic()
            here.start()
            here.recovered(died)
        return here.judge()


def duplicated(told: stage.Stage) -> verdict.Verdict:
    """Clients send everything again, as often as they send anything new, across restarts."""
    told.how = "clients send every second event again, across kill -9 and SIGTERM"
    with told.site() as here:
        here.start()
        here.load(again=1.0)
        for number in range(2 * told.scale.rounds):
            here.go_on(200)
            if number % 2:
                here.stop()
            else:
                here.process.kill()  # type: ignore[union-attr]
                here.sample()
            told.times += 1
            ended = time.monotonic()
            here.start()
            here.recovered(ended)
        return here.judge()


# -- disks


@contextlib.contextmanager
def small_disk(path: pathlib.Path, mebibytes: int) -> Iterator[bool]:
    """A file system of its own at `path`; False where this user may not mount one."""
    path.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(path)]
    mounted = shutil.which("mount") is not None and not subprocess.run(mount, capture_output=True, check=False).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(path)], check=False)


@contextlib.contextmanager
def _filled(path: pathlib.Path, leave_bytes: int) -> Iterator[None]:
    """Meanwhile a file leaves only so much room on the disk of `path`."""
    ballast = path / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while shutil.disk_usage(path).free > leave_bytes:
            file.write(bytes(min(_MIB, max(4096, shutil.disk_usage(path).free - leave_bytes))))
    try:
        yield
    finally:
        ballast.unlink()


def log_disk_full(told: stage.Stage) -> verdict.Verdict:
    """First the reserve is reached, so that clients are refused; then not a byte is left."""
    with small_disk(told.path / "data", 96) as mounted:
        pretended = "the log is told that its disk is full (no small file system can be mounted here without root)"
        told.how = "a tmpfs of 96 MiB for the log, filled to its reserve, then to the last byte" if mounted else pretended
        with told.site() as here:
            here.start()
            here.load()
            for leave in (31 * _MIB, 0) * told.scale.rounds:
                here.go_on(100)
                with _filled(here.pipeline.data.path, leave) if mounted else here.nursery.full_disk():
                    time.sleep(told.scale.hold_seconds)
                told.times += 1
                here.recovered(time.monotonic())
            return here.judge()


def store_disk_full(told: stage.Stage) -> verdict.Verdict:
    """Both stores stand on a disk without a byte left, then with room again."""
    with small_disk(told.path / "store", 64) as mounted:
        pretended = "each write of the stores fails with ENOSPC, by failpoint (no file system can be mounted without root)"
        told.how = "a tmpfs of 64 MiB for both stores, filled to the last byte" if mounted else pretended
        with told.site() as here:
            here.start("" if mounted else "duckdb.inserted=fail@3-;files.temporary=fail@3-")
            here.load()
            for _ in range(told.scale.rounds):
                here.go_on(200)
                with _filled(here.store_path, 0) if mounted else contextlib.nullcontext():
                    time.sleep(told.scale.hold_seconds)
                ended = time.monotonic()
                if not mounted:
                    here.process.kill()  # type: ignore[union-attr]
                    here.start()
                told.times += 1
                here.recovered(ended)
            return here.judge()


def writes_fail(told: stage.Stage) -> verdict.Verdict:
    """Each write of the stores that may meet a full disk does, at each of its steps."""
    steps = ["duckdb.inserted", "duckdb.journalled", "files.temporary", "files.complete", "files.intended", "files.moved"]
    told.how = f"ENOSPC from {', '.join(steps)} three times each, by failpoint"
    armed = ";".join(f"{step}=fail@{number + 3}" for step in steps for number in (0,))
    with told.site() as here:
        here.start()
        here.load()
        for _ in range(told.scale.rounds + 1):
            here.go_on(100)
            here.process.kill()  # type: ignore[union-attr]
            here.sample()
            died = time.monotonic()
            here.start(armed)
            here.go_on(200)
            here.recovered(died)
            told.times += len(steps)
        return here.judge()


# -- the data directory


def log_truncated(told: stage.Stage) -> verdict.Verdict:
    """A log that was cut is refused; both documented repairs are carried out."""
    told.how = "log.db cut in half: refused; repaired with a copy and --new-log-id, then by beginning with an empty log"
    with told.site() as here:
        here.start()
        _work(here)
        data = here.pipeline.data.path
        copy = shutil.copytree(data, here.path / "copy", ignore=shutil.ignore_patterns("*.sock"))
        _cut_and_refused(here)
        shutil.rmtree(data)
        shutil.copytree(copy, data)
        ended = time.monotonic()
        here.start("", "--new-log-id")
        here.load()
        here.recovered(ended)
        _rest(here)
        here.older_logs.append(pathlib.Path(shutil.copy(data / "log.db", here.path / "log-before.db")))
        _cut_and_refused(here)
        for name in ("log.db", "log.db-wal", "log.db-shm"):
            (data / name).unlink(missing_ok=True)
        told.times += 2
        ended = time.monotonic()
        here.start()
        here.load()
        here.recovered(ended)
        here.checks_ledger = False
        return here.judge()


def _work(here: site.Site) -> None:
    """Some load, all of it landed, and the process ended."""
    here.load()
    here.go_on(300)
    _rest(here)


def _rest(here: site.Site) -> None:
    here.unload()
    here.settled()
    here.stop()


def _cut_and_refused(here: site.Site) -> None:
    log = here.pipeline.data.log_path
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size // 2)
    before = len(here.said)
    code = here.spawn().wait(site.PATIENCE_SECONDS)
    said = here.said[before:]
    if code in (0, None) or "is damaged" not in said or "--new-log-id" not in said:
        raise site.StuckError(f"a cut log was not refused as it should be ({code}):\n{said}")


def log_rewound(told: stage.Stage) -> verdict.Verdict:
    """An older copy of the data directory is noticed before anything is counted; --new-log-id is the way on."""
    told.how = "an older copy of the data directory is put back: LogRewound; goes on with --new-log-id"
    with told.site() as here:
        here.start()
        _work(here)
        data = here.pipeline.data.path
        copy = shutil.copytree(data, here.path / "copy", ignore=shutil.ignore_patterns("*.sock"))
        here.start()
        _work(here)
        here.older_logs.append(pathlib.Path(shutil.copy(data / "log.db", here.path / "log-before.db")))
        shutil.rmtree(data)
        shutil.copytree(copy, data)
        here.start()
        here.load()
        here.until(lambda: _all_rewound(here) or None)
        told.times += 1
        here.process.kill()  # type: ignore[union-attr]
        ended = time.monotonic()
        here.start("", "--new-log-id")
        here.recovered(ended)
        here.checks_ledger = False
        return here.judge()


def _all_rewound(here: site.Site) -> bool:
    status = here.pipeline.status()
    return status is not None and all("LogRewound" in lane.message or lane.state == "Halted" for lane in status.lanes)


EACH = [
    stage.Fault(name="SIGTERM", perform=terminated),
    stage.Fault(name="SIGSTOP", perform=stopped),
    stage.Fault(name="disk full: log", perform=log_disk_full),
    stage.Fault(name="disk full: stores", perform=store_disk_full),
    stage.Fault(name="disk full: each step of a write", perform=writes_fail),
    stage.Fault(name="second process", perform=second_process),
    stage.Fault(name="log cut", perform=log_truncated),
    stage.Fault(name="log put back", perform=log_rewound),
    stage.Fault(name="clock ±1 h", perform=clock_jumped),
    stage.Fault(name="duplicates", perform=duplicated),
]
