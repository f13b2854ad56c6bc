"""What the contenders are built from, fetched once per machine: `python -m benchmarks.peers.tools`, part of `make bench-peers`.

Each lands outside the checkout in a folder named after what it is made of, as the tests' servers do (tests/servers/setup.py).
Go modules, Maven artifacts and wheels come through their own clients and are compared with the checksums beside the programs.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence

PROGRAMS = pathlib.Path(__file__).with_name("programs")
_MAVEN_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies"
_LIMIT_SECONDS = 1_800


class MissingToolError(Exception):
    """A program is not there and could not be fetched; the message says what to do."""


def benthos() -> pathlib.Path:
    """The binary."""
    made_of = [PROGRAMS / "benthos" / name for name in ("main.go", "go.mod", "go.sum")]
    return _once("benthos", made_of, _build_benthos) / "benthos"


def flink() -> Sequence[str]:
    """The beginning of a command line: java with Flink and our runner on its path; the path of a script follows."""
    made_of = [PROGRAMS / "flink" / name for name in ("pom.xml", "flink.sha256", "Script.java")]
    folder = _once("flink", made_of, _build_flink)
    opened = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in ("java.lang", "java.util", "java.net", "java.nio")]
    return [_found("java", "default-jdk-headless"), *opened, "-Xmx3g", "-cp", f"{folder}:{folder}/jars/*", "Script"]


def bytewax() -> pathlib.Path:
    """The interpreter of its own environment."""
    return _once("bytewax", [PROGRAMS / "python" / "requirements.lock"], _build_bytewax) / "bin" / "python"


def _once(name: str, made_of: Sequence[pathlib.Path], build: Callable[[pathlib.Path], None]) -> pathlib.Path:
    """The folder with what `build` makes of these files. It gets its name last, so one that is there is whole."""
    platform = f"{sysconfig.get_platform()} {sys.implementation.cache_tag}".encode()
    key = hashlib.sha256(b"\0".join([platform, *(path.read_bytes() for path in made_of)])).hexdigest()[:16]
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = cache / "penstock" / "peers" / f"{name}-{key}"
    if folder.is_dir():
        return folder
    started = time.perf_counter()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="new-") as scratch:
        filled = pathlib.Path(scratch) / "filled"
        filled.mkdir()
        build(filled)
        filled.rename(folder)
    print(f"set-up: {name:<12} {time.perf_counter() - started:6.1f} s", flush=True)
    return folder


def _build_benthos(folder: pathlib.Path) -> None:
    go = _found("go", "golang-go (1.26 or later)")
    quick = {"GOFLAGS": "-mod=readonly", "GOGC": "400"}
    _run([go, "build", "-p", "1", "-trimpath", "-ldflags=-s -w", "-o", str(folder / "benthos"), "."], PROGRAMS / "benthos", quick)


def _build_flink(folder: pathlib.Path) -> None:
    maven, compiler = _found("mvn", "maven"), _found("javac", "default-jdk-headless")
    source, jars = PROGRAMS / "flink", folder / "jars"
    _run([maven, "-B", "-q", "-f", str(source / "pom.xml"), _MAVEN_GOAL, "-DincludeScope=runtime", f"-DoutputDirectory={jars}"])
    there = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in jars.iterdir()}
    wanted = {name: digest for digest, name in map(str.split, (source / "flink.sha256").read_text().splitlines())}
    if there != wanted:
        raise MissingToolError(f"not what flink.sha256 says: {sorted(dict(there.items() ^ wanted.items()))}; nothing was kept")
    _run([compiler, "-cp", f"{jars}/*", "-d", str(folder), str(source / "Script.java")])


def _build_bytewax(folder: pathlib.Path) -> None:
    _run([sys.executable, "-m", "venv", "--copies", str(folder)])
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input", "--require-hashes", "--only-binary", ":all:"]
    _run([str(folder / "bin" / "python"), "-m", "pip", "install", *quiet, "-r", str(PROGRAMS / "python" / "requirements.lock")])


def _found(program: str, package: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise MissingToolError(f"{program} is not there. Debian, Ubuntu: sudo apt-get install -y {package}")
    return path


def _run(command: Sequence[str], folder: pathlib.Path | None = None, further: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(further or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LIMIT_SECONDS,
        check=False,
    )
    if done.returncode:
        raise MissingToolError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def main() -> int:
    """Fetch everything. A peer that can't be had is said; the others are measured without it."""
    for fetch in (benthos, flink, bytewax):
        try:
            fetch()
        except (MissingToolError, subprocess.TimeoutExpired) as error:
            print(f"set-up: no {fetch.__name__}: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
