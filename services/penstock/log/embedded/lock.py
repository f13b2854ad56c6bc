"""Who may write an embedded log: one process at a time, whatever happens to it.

The lock is the operating system's, on a file beside the log, so it ends with its holder even on kill -9 and stays with a
holder that is only stopped. The file's content, the holder's process id, is for the message alone.
"""

from __future__ import annotations

import fcntl
import os
import pathlib

from penstock.log import port


class WriterLock:
    """Held from `acquire` to `release`. The lock file is never deleted: a deleted one could be locked twice."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, path: pathlib.Path) -> WriterLock:
        """Take the lock of the log at `path`, or raise LogLockedError, which names the holder."""
        lock_path = path.with_name(f"{path.name}.lock")
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            who = f"process {holder}" if holder else "another process"
            raise port.LogLockedError(
                f"{path} is being written by {who}: stop it first (a log has one writer), or use another --data directory"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        return cls(descriptor)

    def release(self) -> None:
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
