"""A limited process that runs a transform over suspected events and says by living or dying what they do.

Started by `suspects` with a `Charge` on its standard input. What the transform makes is thrown away: it makes the same again
in the lane.
"""

from __future__ import annotations

import contextlib
import pathlib
import pickle
import resource
import signal
import sys

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from penstock.batcher.guarding import suspects
from penstock.core.transform import spec, transform


def main() -> int:
    """0: the events are harmless, whatever is wrong with them otherwise."""
    charge: suspects.Charge = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started this one
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (charge.lifetime_seconds, charge.lifetime_seconds))
    signal.alarm(charge.lifetime_seconds)
    try:
        _run(charge)
    except (MemoryError, pa.ArrowMemoryError):
        return suspects.OUT_OF_MEMORY
    except Exception:
        return 1
    return 0


def _run(charge: suspects.Charge) -> None:
    events = ipc.open_stream(charge.events).read_all()
    compiled = transform.Transform(
        charge.transform, memory_limit_bytes=charge.memory_bytes, time_limit_seconds=charge.time_limit_seconds
    )
    _limit_memory(charge.memory_bytes + charge.slack_bytes)
    chosen = events.select(list(compiled.input_columns))
    numbers = pa.array(np.arange(events.num_rows, dtype=np.int32))
    compiled.run(chosen.append_column(spec.EVENT_COLUMN, numbers), charge.items)


def _limit_memory(more_bytes: int) -> None:
    """Address space on top of what libraries and the engine have mapped by now."""
    with contextlib.suppress(OSError):
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + more_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    sys.exit(main())
