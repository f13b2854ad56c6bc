"""The embedded log's file: its tables, how it is made, opened and recognised, and what SQLite's errors mean to a person.

Values live apart from the records' other columns, so a scan of headers reads no value. Only the writing connection ever
checkpoints (readers open the file read-only): SQLite before 3.51.3 can corrupt a file when one connection checkpoints while
another resets the write-ahead log.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import sqlite3
import threading
import urllib.parse
from collections.abc import Sequence

import msgspec

from penstock.core import lineage
from penstock.log import port

VERSION = 1

BUSY_MILLISECONDS = 5_000

_FORMER = "former"
"""Only in a log that has been given another id."""

# Big enough that a block of 300 kB is few pages, small enough that a lone commit stays cheap to flush.
_PAGE_BYTES = 16_384
_CACHE_KIBIBYTES = 32_768
_CHECK_SECONDS = 2.0

_TABLES = """
CREATE TABLE log (name TEXT PRIMARY KEY, content NOT NULL) WITHOUT ROWID;
CREATE TABLE partition (
    id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    number INTEGER NOT NULL,
    start_offset INTEGER NOT NULL,
    end_offset INTEGER NOT NULL,
    append_time INTEGER NOT NULL,
    UNIQUE (topic, number)
);
CREATE TABLE producer (
    id INTEGER PRIMARY KEY,
    partition_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    append_time INTEGER NOT NULL,
    UNIQUE (partition_id, name)
);
CREATE TABLE record (
    partition_id INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    append_time INTEGER NOT NULL,
    producer_id INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    headers BLOB NOT NULL,
    value_id INTEGER NOT NULL,
    value_bytes INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (partition_id, offset)
) WITHOUT ROWID;
CREATE UNIQUE INDEX record_identity ON record (producer_id, sequence);
CREATE TABLE value (id INTEGER PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE group_commit (
    topic TEXT NOT NULL,
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    PRIMARY KEY (topic, name, number)
) WITHOUT ROWID;
"""


SNAPSHOT_TABLE = """
CREATE TABLE IF NOT EXISTS snapshot (
    topic TEXT NOT NULL,
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    content BLOB NOT NULL,
    UNIQUE (topic, name, number, offset)
)
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What is fixed when a log is made; `former` are the ids it had before it was put back from a copy, oldest first."""

    log_id: str
    partitions: int
    former: Sequence[lineage.Former] = ()


def create(path: pathlib.Path, identity: Identity) -> None:
    """Make a log at `path`, whole or not at all: it is built beside and renamed.

    A file at `path` that is empty or lacks tables is therefore damage, never a log half made.
    """
    journal = path.with_name(f"{path.name}-wal")
    if journal.exists() and journal.stat().st_size:
        raise port.LogError(
            f"{path} is gone but its journal {journal.name} is there: put {path.name} back,"
            f" or move the journal away to start an empty log"
        )
    draft = path.with_name(f"{path.name}.new")
    for leftover in (draft, *(draft.with_name(draft.name + suffix) for suffix in ("-wal", "-shm", "-journal"))):
        leftover.unlink(missing_ok=True)
    _build(draft, identity)
    _sync(draft)
    draft.rename(path)
    _sync(path.parent)


def open_writer(path: pathlib.Path) -> sqlite3.Connection:
    """The one connection that writes; usable from any one thread at a time. A commit that returned is on the disk."""
    connection = _connect(path, "rw")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    # Debian's SQLite overwrites what is deleted with zeros by default: every trim would write the trimmed bytes again.
    connection.execute("PRAGMA secure_delete = OFF")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")
    return connection


def open_reader(path: pathlib.Path) -> sqlite3.Connection:
    """A connection that never writes; works beside a writer, after a crash and when nothing runs."""
    connection = _connect(path, "ro")
    try:
        connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        journal = path.with_name(f"{path.name}-wal")
        if journal.exists() and journal.stat().st_size:
            raise
        # A directory we may not write to, and no writer: the file can't change under us.
        connection = _connect(path, "ro&immutable=1")
    return connection


def identify(connection: sqlite3.Connection, path: pathlib.Path) -> Identity:
    """What the file says it is. Raises LogError for a file of a newer version or not a log."""
    known = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'log'").fetchone()
    if known is None:
        raise port.LogError(f"{path} holds no log: {_DAMAGE_REMEDY}")
    content = dict(connection.execute("SELECT name, content FROM log"))
    if content["version"] > VERSION:
        raise port.LogError(
            f"{path} was written by a newer Penstock (log version {content['version']}, this one reads {VERSION}):"
            f" install that version or a newer one"
        )
    former = msgspec.json.decode(content.get(_FORMER, "[]"), type=tuple[lineage.Former, ...])
    return Identity(log_id=content["log_id"], partitions=content["partitions"], former=former)


def rename(connection: sqlite3.Connection, identity: Identity, log_id: str) -> None:
    """Write another id into an existing file, and beside it the one it had, with where the main log ends."""
    found = dict(connection.execute("SELECT number, end_offset FROM partition WHERE topic = ?", (port.EVENTS,)))
    ends = [found.get(number, 0) for number in range(identity.partitions)]
    former = [*identity.former, lineage.Former(log_id=identity.log_id, ends=ends)]
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        connection.execute("UPDATE log SET content = ? WHERE name = 'log_id'", (log_id,))
        connection.execute("INSERT OR REPLACE INTO log VALUES (?, ?)", (_FORMER, msgspec.json.encode(former).decode()))


def grow(connection: sqlite3.Connection, identity: Identity, partitions: int) -> Identity:
    """Give an existing file more partitions, behind those it has."""
    with connection:
        connection.execute("UPDATE log SET content = ? WHERE name = 'partitions'", (partitions,))
    return dataclasses.replace(identity, partitions=partitions)


def check(connection: sqlite3.Connection, path: pathlib.Path) -> None:
    """Raise LogError for a file whose structure is broken, as far as a bounded time reaches.

    A file that is cut short is refused by SQLite itself at the first look, however big it is.
    """
    found = _quick_check(connection)
    if found != "ok":
        raise port.LogError(f"{path} is damaged ({found}): {_DAMAGE_REMEDY}")


def explain(error: sqlite3.Error, path: pathlib.Path) -> port.LogError:
    """SQLite's error as the port's, naming the file and the way out."""
    extended = getattr(error, "sqlite_errorcode", 0)
    code = extended & 0xFF
    if code == sqlite3.SQLITE_FULL or extended in _NO_ROOM:
        return port.LogFullError(f"{path}: no room on the disk; nothing was written. Free some, or trim the log")
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}:
        return port.LogError(f"{path} is damaged ({error}): {_DAMAGE_REMEDY}")
    remedy = _REMEDIES.get(code, "nothing was written by this call")
    return port.LogError(f"{path}: {error} ({remedy})")


def is_lasting(error: sqlite3.Error) -> bool:
    """Whether the file must not be written again by this process: what it holds can't be trusted to be what we think."""
    extended = getattr(error, "sqlite_errorcode", 0)
    return extended not in _NO_ROOM and extended & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR}


_DAMAGE_REMEDY = (
    "stop Penstock; restore the data directory from a copy and start with --new-log-id, or move the file away to begin anew"
    " (what has landed stays landed, what was unread is lost); docs/troubleshooting.md, «The log is damaged»"
)

# A full disk, met while the index of the journal was to grow.
_NO_ROOM = {sqlite3.SQLITE_IOERR_SHMSIZE}

_REMEDIES = {
    sqlite3.SQLITE_BUSY: "another program holds a lock on the file: close it",
    sqlite3.SQLITE_IOERR: "the disk failed: look at the system's log, then start again; what was acknowledged is kept",
    sqlite3.SQLITE_CANTOPEN: "check that the directory exists and may be written to",
    sqlite3.SQLITE_READONLY: "check who owns the file and that its file system is writable",
    sqlite3.SQLITE_PERM: "check who owns the file",
}


def _connect(path: pathlib.Path, mode: str) -> sqlite3.Connection:
    address = f"file:{urllib.parse.quote(str(path.absolute()))}?mode={mode}"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
    return connection


def _build(path: pathlib.Path, identity: Identity) -> None:
    # Events are for this user's eyes, whoever may enter the directory; SQLite gives its journal the same permissions.
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with contextlib.closing(_connect(path, "rwc")) as connection:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_TABLES)
        content = {"version": VERSION, "log_id": identity.log_id, "partitions": identity.partitions}
        connection.executemany("INSERT INTO log VALUES (?, ?)", content.items())


def _sync(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _quick_check(connection: sqlite3.Connection) -> str:
    bound = threading.Timer(_CHECK_SECONDS, connection.interrupt)
    bound.start()
    try:
        return str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return "ok"
        raise
    finally:
        bound.cancel()
        bound.join()
