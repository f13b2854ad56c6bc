"""The connection to one DuckDB database file, and whose fault its errors are.

The only module of the sinks that opens DuckDB. The database can neither reach other files nor the network, and its
configuration is locked, because SQL written by people runs beside the writes. A file that another process holds is an
outage, not a misconfiguration: it ends by itself when that process lets go.
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

import duckdb

from penstock.core import results
from penstock.sinks import durable, port, tables

# A checkpoint rewrites the last row groups, so many small ones cost more than they save: 16 MiB (the default) takes 1.9 µs
# per row in writes of 10,000 rows, 64 MiB 1.5. Beyond that the log to be replayed after a crash grows for little.
_CONFIGURATION: dict[str, str | bool | int | float | list[str]] = {
    "threads": "1",
    "memory_limit": "1GB",
    "checkpoint_threshold": "64MB",
    "enable_external_access": "false",
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}

_CONFIG_TEXTS = (
    "not a valid DuckDB database file",
    "version number",
    "No such file or directory",
    "Is a directory",
    "Permission denied",
    "Read-only file system",
)

DATA_ERRORS = (
    duckdb.ConstraintException,
    duckdb.ConversionException,
    duckdb.OutOfRangeException,
    duckdb.InvalidInputException,
)
"""What a row's own values can cause."""

_CLASSES: tuple[tuple[type[duckdb.Error], results.ResultClass, str], ...] = (
    (duckdb.IOException, results.ResultClass.OUTAGE, "free space or mend the disk that holds the database"),
    (duckdb.FatalException, results.ResultClass.OUTAGE, "the database is opened again at the next attempt"),
    (duckdb.TransactionException, results.ResultClass.OUTAGE, ""),
    (duckdb.OutOfMemoryException, results.ResultClass.PRESSURE, "lower batching.limits.rows of this sink"),
    (duckdb.CatalogException, results.ResultClass.CONFIG, "compare the table with the pipeline's select"),
    (duckdb.BinderException, results.ResultClass.CONFIG, "compare the table with the pipeline's select"),
    (duckdb.PermissionException, results.ResultClass.CONFIG, ""),
)


class Store:
    """One open database. Used from one thread, but for `reader`'s connections; nothing after `close`."""

    def __init__(self, path: pathlib.Path) -> None:
        """Open the file, creating it and its directory where they are missing. Raises SinkError."""
        self._path = path
        self._log_inode = 0
        try:
            durable.make_directory(path.parent)
            self.connection = duckdb.connect(path, config=_CONFIGURATION)
            _lock_down(self.connection)
            durable.sync_directories([path.parent])
        except duckdb.Error as error:
            raise _opening(path, error) from error
        except OSError as error:
            raise _unreachable(path, error) from error

    @contextlib.contextmanager
    def transaction(self, *, keep: bool = True) -> Iterator[None]:
        """Commit what was done inside, durably, or with `keep=False` undo it; undo it on any error."""
        self.connection.execute("BEGIN")
        try:
            yield
            self.connection.execute("COMMIT" if keep else "ROLLBACK")
        except BaseException:
            # After an error inside COMMIT there may be nothing left to roll back.
            with contextlib.suppress(duckdb.Error):
                self.connection.execute("ROLLBACK")
            raise
        if keep:
            self._sync_new_log()

    def reader(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own for reading; the caller closes it."""
        return self.connection.cursor()

    def close(self) -> None:
        self.connection.close()

    def _sync_new_log(self) -> None:
        """DuckDB syncs its write-ahead log at each commit, but not the directory entry of a log that is new."""
        log = self._path.with_name(self._path.name + ".wal")
        with contextlib.suppress(FileNotFoundError):
            inode = log.stat().st_ino
            if inode != self._log_inode:
                durable.sync_directories([self._path.parent])
                self._log_inode = inode


def classify(path: pathlib.Path, error: duckdb.Error) -> port.SinkError:
    """A failure of a statement as the port's error; what no rule knows is UNCLASSIFIED."""
    rules = ((result_class, remedy) for kind, result_class, remedy in _CLASSES if isinstance(error, kind))
    result_class, remedy = next(rules, (results.ResultClass.UNCLASSIFIED, ""))
    message = f"{path}: {first_line(error)}"
    return port.SinkError(results.Failure(result_class=result_class, code=type(error).__name__, message=message, remedy=remedy))


def first_line(error: BaseException) -> str:
    """DuckDB's message without the candidates and the marked-up SQL below it."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _lock_down(connection: duckdb.DuckDBPyConnection) -> None:
    """A second connection of one process finds the shared configuration locked already."""
    locked = connection.execute("SELECT current_setting('lock_configuration')").fetchall()
    if not locked[0][0]:
        # Casts between timestamps with and without a zone must not depend on the machine's own zone.
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        connection.execute("SET lock_configuration = true")


def _opening(path: pathlib.Path, error: duckdb.Error) -> port.SinkError:
    text = first_line(error)
    if "Could not set lock" in text:
        holder = text.partition("Conflicting lock is held in ")[2].partition(". See")[0] or "another process"
        return tables.unavailable(
            "LOCKED",
            f"{path} is open in {holder}",
            "close it there: landing then goes on by itself (to look at the rows meanwhile, use penstock query)",
        )
    if any(known in text for known in _CONFIG_TEXTS):
        return tables.misconfigured("CANNOT_OPEN", f"{path}: {text}", "check duckDB.path of the sink")
    return classify(path, error)


def _unreachable(path: pathlib.Path, error: OSError) -> port.SinkError:
    return tables.misconfigured(
        "CANNOT_OPEN", f"{path}: {error.strerror or error}", "check duckDB.path of the sink, and the directory's owner"
    )


def open_read_only(path: pathlib.Path) -> duckdb.DuckDBPyConnection:
    """A connection for a query while nobody writes. Raises SinkError, an outage where another process holds the file."""
    try:
        connection = duckdb.connect(path, read_only=True, config=_CONFIGURATION)
        _lock_down(connection)
    except duckdb.Error as error:
        raise _opening(path, error) from error
    return connection
