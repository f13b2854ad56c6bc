"""Where and with what the figures were measured: they mean little without it."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import pathlib
import platform
import shutil
import subprocess
from typing import Any

_PACKAGES = ("pyarrow", "numpy", "duckdb", "grpcio", "protobuf", "msgspec", "uvloop")


def describe() -> dict[str, Any]:
    """Processor, cores, load average, versions, commit, date."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "commit": _commit(),
    }


def load_average() -> list[float]:
    """Of 1, 5 and 15 minutes; what exceeds this process's one is others'."""
    return [round(load, 2) for load in os.getloadavg()]


def _processor() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    git = shutil.which("git")
    if git is None:
        return "unknown"
    asked = [git, "describe", "--always", "--dirty"]
    done = subprocess.run(asked, cwd=pathlib.Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
