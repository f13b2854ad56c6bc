"""The Files destination on this machine: Parquet or NDJSON, in Hive folders where partitions are asked for.

Identity is Manifest: a journal beside the files says which ranges they were made from, and a write is in it or it is not.
"""

from __future__ import annotations

import errno
import pathlib
from collections.abc import Callable, Sequence
from typing import TypeVar

import pyarrow as pa

from penstock.core import delivery, failpoints
from penstock.sinks import port, tables, turns
from penstock.sinks.files import formats as files_format
from penstock.sinks.files import session as files_session

T = TypeVar("T")

_CONFIG_ERRORS = frozenset((errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP))


class FilesWriter:
    """Writes below one directory, which is made where it is missing; a `SinkWriter`. All its work is done on one thread.

    `partitions` are the names of the folder levels, outermost first; `files_partition` says where their values come from.
    There are no tables here: a write's table only keeps its landed ranges apart from those of others.
    """

    def __init__(
        self,
        root: pathlib.Path,
        *,
        format_: files_format.Format = files_format.Format.PARQUET,
        partitions: Sequence[str] = (),
        failpoint: failpoints.Failpoint = failpoints.nothing,
    ) -> None:
        """Nothing is opened yet: a directory that another process holds is an outage of the calls, not of the start."""
        self._root = root
        self._format = format_
        self._partitions = tuple(partitions)
        self._failpoint = failpoint
        self._session: files_session.Session | None = None
        self._turns = turns.Turns("files-write")

    async def describe(self, lane: str, table: str, schema: pa.Schema) -> delivery.Description:
        """See `SinkWriter`."""
        return await self._turns.run(lambda: self._guarded(lambda session: session.describe(schema)))

    async def write(self, batch: delivery.SinkBatch) -> delivery.WriteResult:
        """See `SinkWriter`."""
        return await self._turns.run(lambda: self._guarded(lambda session: session.write(batch)))

    async def query(self, sql: str) -> pa.Table:
        """See `SinkWriter`."""
        raise tables.misconfigured(
            "NOT_QUERYABLE", f"{self._root} holds files, not a database", "read the files with DuckDB: read_parquet('…')"
        )

    async def close(self) -> None:
        """See `SinkWriter`."""
        await self._turns.close(self._drop)

    def _guarded(self, work: Callable[[files_session.Session], T]) -> T:
        """Run on the writing thread. After an error of the file system the next call recovers from what is on disk."""
        try:
            if self._session is None:
                self._session = files_session.Session(
                    self._root, format_=self._format, partitions=self._partitions, failpoint=self._failpoint
                )
            return work(self._session)
        except port.SinkError:
            raise
        except OSError as error:
            self._drop()
            raise _classified(self._root, error) from error
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


def _classified(root: pathlib.Path, error: OSError) -> port.SinkError:
    code = errno.errorcode.get(error.errno or 0, type(error).__name__)
    where = error.filename or root
    message = f"{where}: {error.strerror or error}"
    if error.errno in _CONFIG_ERRORS:
        return tables.misconfigured(code, message, "check files.url of the sink, and who may write there")
    return tables.unavailable(code, message, "free space or mend the disk; landing then goes on by itself")
