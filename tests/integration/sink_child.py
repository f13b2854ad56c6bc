"""A process that writes blocks to a store until it is killed: arguments STORE ROOT FROM TO STEP NTH.

Three rows and one write per block. Prints the block's offset once its write is answered. With a STEP it kills itself the
NTH time that step is reached.
"""

from __future__ import annotations

import os
import pathlib
import signal
import sys

import pyarrow as pa
from tests.unit.sinks import stores, writes

from penstock.core import failpoints

ROWS_PER_BLOCK = 3


def write_blocks(store: str, root: pathlib.Path, start: int, end: int, failpoint: failpoints.Failpoint) -> None:
    """Write blocks `start` to `end`, whatever of them has landed before."""
    partitions = () if store == "DuckDB" else ("part",)
    session = stores.open_session(store, root, failpoint=failpoint, partitions=partitions)
    if store == "DuckDB":
        stores.prepare(store, session)
    for offset in range(start, end):
        rows = writes.numbered(offset * ROWS_PER_BLOCK, (offset + 1) * ROWS_PER_BLOCK)
        if partitions:
            rows = rows.append_column("part", pa.array(["a", "b", None]))
        session.write(writes.batch(rows, writes.span(offset, offset + 1)))
        sys.stdout.write(f"{offset}\n")
        sys.stdout.flush()
    stores.close(store, session)


def main(store: str, root: str, start: str, end: str, step: str, nth: str) -> None:
    """See above."""
    left = int(nth)

    def failpoint(reached: str) -> None:
        nonlocal left
        left -= reached == step
        if reached == step and left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    write_blocks(store, pathlib.Path(root), int(start), int(end), failpoint)


if __name__ == "__main__":
    main(*sys.argv[1:])
