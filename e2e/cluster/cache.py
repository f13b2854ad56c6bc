"""What is built once per machine: kept outside the checkout, in folders named after what went into them.

A folder that exists is complete, because it gets its name last.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable


class MissingError(Exception):
    """Something isn't there, or can't be made here; the message says what to do."""


def root() -> pathlib.Path:
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "penstock"


def folder(kind: str, *contents: bytes) -> pathlib.Path:
    """Where the `kind` made of `contents` is, or will be."""
    return root() / kind / hashlib.sha256(b"\0".join(contents)).hexdigest()[:16]


def fill(target: pathlib.Path, what: str, make: Callable[[pathlib.Path], None]) -> None:
    """Have `make` fill `target` unless it is there. Two at the same time do the work twice and keep one result."""
    if target.is_dir():
        return
    started = time.perf_counter()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="new-") as scratch:
        filled = pathlib.Path(scratch) / "filled"
        filled.mkdir()
        make(filled)
        if not target.is_dir():
            filled.rename(target)
    sys.stdout.write(f"set-up: {what:<36} {time.perf_counter() - started:6.1f} s\n")
    sys.stdout.flush()
