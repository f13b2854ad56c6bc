"""A Files directory held by this process: locked, recovered, and written to.

A write puts complete files under temporary names, then says in the journal where they belong, then moves them there. Once
the journal says so the write has happened: a crash after that is finished by the next start, a crash before it leaves only
temporary files that the next start removes. Any error ends the session, and the next one begins by recovering.

    <root>/_penstock/{lock, journal, tmp/}      <root>/[name=value/…]<first range>-<digest of all>.parquet
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pathlib
from collections.abc import Iterator, Sequence

import pyarrow as pa

from penstock.core import addresses, delivery, failpoints, results
from penstock.sinks import durable, tables
from penstock.sinks.files import formats as files_format
from penstock.sinks.files import journal as files_journal
from penstock.sinks.files import partition as files_partition

_OWN = "_penstock"
_DESCRIPTION = delivery.Description(
    identity=delivery.Identity.MANIFEST,
    identity_reason="files and the journal of landed ranges change together",
    max_concurrency=1,
    preferred_rows=500_000,
    preferred_bytes=64 * 1024 * 1024,
)

# A start reads all of them; folding rewrites the journal.
_INTENTS_KEPT = 256


class Session:
    """Failpoints: `temporary` (each file), `complete`, `intended`, `moved` (each file), `landed`, `folded`."""

    def __init__(
        self,
        root: pathlib.Path,
        *,
        format_: files_format.Format,
        partitions: Sequence[str],
        failpoint: failpoints.Failpoint,
    ) -> None:
        """Lock and recover. Raises SinkError when another process has it or the journal is damaged, OSError."""
        self._root, self._own, self._temporary = root, root / _OWN, root / _OWN / "tmp"
        self._format, self._partitions, self._failpoint = format_, partitions, failpoint
        durable.make_directory(self._temporary)
        with contextlib.ExitStack() as held:
            held.callback(os.close, _locked(self._own / "lock"))
            self._journal = held.enter_context(contextlib.closing(files_journal.Journal(self._own / "journal")))
            self._recover()
            self._held = held.pop_all()

    def describe(self, schema: pa.Schema) -> delivery.Description:
        """See `SinkWriter.describe`."""
        files_partition.check_columns(schema, self._partitions)
        columns = files_partition.data_columns(schema, self._partitions)
        try:
            files_format.encode(schema.empty_table().select(columns), self._format)
        except pa.ArrowException as error:
            raise tables.misconfigured(
                "COLUMN_TYPE", f"{self._format.value} can't hold this schema: {error}", "cast the column in select"
            ) from error
        return _DESCRIPTION

    def write(self, batch: delivery.SinkBatch) -> delivery.WriteResult:
        """See `SinkWriter.write`."""
        known = addresses.intersect(batch.ranges, self._journal.landed.of(batch.lane, batch.table))
        if known:
            return delivery.WriteResult(already_landed=known)
        parts = files_partition.divide(batch.rows, self._partitions)
        rejected = sorted(_unnameable(parts), key=lambda rejection: rejection.row)
        if rejected:
            return delivery.WriteResult(rejected=rejected)
        intent = files_journal.Intent(
            lane=batch.lane,
            table=batch.table,
            landed=self._journal.landed.after(batch),
            moves=self._write_temporaries(batch, parts),
        )
        self._journal.append(intent)
        self._failpoint("intended")
        self._move(intent.moves)
        self._failpoint("landed")
        self._fold_when_long()
        return delivery.WriteResult(written=batch.rows.num_rows)

    def close(self) -> None:
        """Let go of the directory."""
        self._held.close()

    def _write_temporaries(self, batch: delivery.SinkBatch, parts: Sequence[files_partition.Part]) -> list[tuple[str, str]]:
        """(temporary, final) paths below the root; contents and temporary names are durable."""
        name = _file_name(batch)
        moves = []
        for number, part in enumerate(parts):
            temporary = pathlib.PurePath(_OWN, "tmp", f"{name}.{number}")
            durable.write_file(self._root / temporary, files_format.encode(part.rows, self._format))
            self._failpoint("temporary")
            final = pathlib.PurePath(*part.segments, name + self._format.suffix)
            moves.append((str(temporary), str(final)))
        durable.sync_directories([self._temporary])
        self._failpoint("complete")
        return moves

    def _move(self, moves: Sequence[tuple[str, str]]) -> None:
        """Put files in their places, durably; what is there already, or was taken away since, is left alone."""
        changed = {self._temporary}
        for temporary, final in moves:
            source, target = self._root / temporary, self._root / final
            if source.exists():
                durable.make_directory(target.parent)
                source.replace(target)
                changed.add(target.parent)
                self._failpoint("moved")
        durable.sync_directories(changed)

    def _recover(self) -> None:
        """Finish what was intended, remove what was not."""
        for intent in self._journal.intents:
            self._move(intent.moves)
        for leftover in self._temporary.iterdir():
            leftover.unlink()
        # Always: after a failed sync the journal that was read need not be the one on disk.
        self._journal.fold()
        self._failpoint("folded")

    def _fold_when_long(self) -> None:
        if len(self._journal.intents) >= _INTENTS_KEPT:
            self._journal.fold()
            self._failpoint("folded")


def _locked(path: pathlib.Path) -> int:
    """The descriptor that holds the lock, until it is closed. Raises SinkError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise _held(path.parent.parent, holder) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _held(root: pathlib.Path, holder: str) -> Exception:
    if holder == str(os.getpid()):
        return tables.misconfigured(
            "SHARED_DIRECTORY", f"{root} is the directory of another sink too", "give each sink a directory of its own"
        )
    return tables.unavailable(
        "LOCKED", f"{root} is written by the process with PID {holder}", "stop that one: landing then goes on by itself"
    )


def _file_name(batch: delivery.SinkBatch) -> str:
    """The same for the same ranges, different for others; sorts by offset."""
    ranges = addresses.merge(batch.ranges)
    digest = hashlib.sha256(repr((batch.lane, batch.table, ranges)).encode()).hexdigest()[:16]
    first = ranges[0]
    return f"{first.partition:04d}-{first.start.offset:012d}-{digest}"


def _unnameable(parts: Sequence[files_partition.Part]) -> Iterator[results.RejectedRow]:
    for part in parts:
        if part.nameable:
            continue
        message = f"the partition's value is too long for a folder's name: {'/'.join(part.segments)[:200]}…"
        for row in part.indices:
            yield results.RejectedRow(
                row=int(row), result_class=results.ResultClass.DATA, code="PARTITION_TOO_LONG", message=message
            )
