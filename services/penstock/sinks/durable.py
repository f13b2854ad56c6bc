"""File operations that survive power loss: bytes synced before anything points to them, directories synced after."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable

import pyarrow as pa


def write_file(path: pathlib.Path, content: bytes | pa.Buffer) -> None:
    """Write and sync; the name itself is durable only once its directory is synced."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes | pa.Buffer) -> None:
    """`os.write` may write less than it is given."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_directories(directories: Iterable[pathlib.Path]) -> None:
    """Make creations and renames in these directories durable; each is synced once."""
    for directory in sorted(set(directories)):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_directory(directory: pathlib.Path) -> None:
    """Make it and what is missing above it, durably."""
    if not directory.is_dir():
        make_directory(directory.parent)
        directory.mkdir(exist_ok=True)
        sync_directories([directory.parent])
