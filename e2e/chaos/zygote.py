"""One interpreter that has imported the command line, and copies itself for every start: a start then costs a tenth.

A copy is a process of its own in every respect that a fault can touch. Orders come in as lines of JSON on standard input,
answers go out as lines on standard output. The wall clock of all copies is shifted by what stands in a shared file, read at
each call, so that a clock can jump under a running process; the room on the disks likewise.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import pathlib
import shutil
import signal
import struct
import sys
import time
import types
from typing import Any, NoReturn

_DIE_WITH_PARENT = 1
SHARED = struct.Struct("dd")
"""What the copies are made to believe: seconds their wall clock is off, bytes that are gone from every disk."""


def deceive(path: pathlib.Path) -> None:
    """From now on the clock and the disks are what the file says; before anything that keeps their functions is imported.

    gRPC is left out: it adds what it is told to the clock it reads here, and compares that with one that can't be shifted.
    """
    import grpc.aio

    true = types.ModuleType("true_time")
    vars(true).update(vars(time))
    for name, module in list(sys.modules.items()):
        if name.startswith("grpc") and getattr(module, "time", None) is time:
            module.time = true  # type: ignore[attr-defined]
    assert grpc.aio
    with path.open("r+b") as file:
        shared = mmap.mmap(file.fileno(), SHARED.size)
    wall, wall_ns, usage, unpack = time.time, time.time_ns, shutil.disk_usage, SHARED.unpack_from
    time.time = lambda: wall() + unpack(shared)[0]
    time.time_ns = lambda: wall_ns() + int(unpack(shared)[0] * 1e9)
    shutil.disk_usage = lambda path: (room := usage(path))._replace(free=max(0, room.free - int(unpack(shared)[1])))


def _become(order: dict[str, Any]) -> NoReturn:
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    os.setsid()
    for descriptor, name in ((0, os.devnull), (1, order["out"]), (2, order["err"])):
        opened = os.open(name, os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(order["cwd"])
    os.environ.update(order["env"])
    sys.argv = ["penstock", *order["arguments"]]
    from penstock.cli import main

    main.main()
    os._exit(0)


def main() -> None:
    """Serve until standard input ends; the copies end with it."""
    deceive(pathlib.Path(sys.argv[1]))
    import duckdb  # noqa: F401
    import uvloop  # noqa: F401

    from penstock.cli import roles, run  # noqa: F401
    from penstock.sinks.clickhouse import writer as clickhouse_writer  # noqa: F401
    from penstock.sinks.duckdb import writer as duckdb_writer  # noqa: F401
    from penstock.sinks.http import writer as http_writer  # noqa: F401
    from penstock.sinks.postgres import writer as postgres_writer  # noqa: F401

    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "reap" in order:
            print(os.waitstatus_to_exitcode(os.waitpid(order["reap"], 0)[1]), flush=True)
            continue
        child = os.fork()
        if not child:
            _become(order)
        print(child, flush=True)


if __name__ == "__main__":
    main()
