"""The data directory of one pipeline on one machine: `./.penstock/<namespace>/<name>` unless `--data` says otherwise.

log.db          the embedded log
pipeline.json   the last accepted pipeline object, so that the rules on edits hold at the next start
folder          where it was started: relative paths of its stores begin there
retired.json    lanes of sinks that were removed, with the time
control.sock    where a running pipeline is talked to
sinks/          journals and sockets of sinks
secrets/        <name>/<key>: put there by whoever runs the pipeline, only ever read
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import tempfile
from collections.abc import Mapping

import msgspec

from penstock.api.model import pipeline as api_pipeline

DEFAULT_ROOT = pathlib.Path(".penstock")

_PINNED = "pipeline.json"
_FOLDER = "folder"
_RETIRED = "retired.json"

# sun_path holds 108 bytes on Linux, the final NUL included.
_SOCKET_PATH_BYTES = 104


class DirectoryError(Exception):
    """No usable data directory; the message says which were looked at and what to do."""


class DataDirectory:
    """Paths only; nothing is created until `create`."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    @property
    def log_path(self) -> pathlib.Path:
        return self.path / "log.db"

    @property
    def secrets_path(self) -> pathlib.Path:
        return self.path / "secrets"

    @property
    def _pinned_path(self) -> pathlib.Path:
        return self.path / _PINNED

    @property
    def control_address(self) -> str:
        """gRPC address of the control socket."""
        return f"unix:{self.socket('control')}"

    def socket(self, name: str) -> pathlib.Path:
        """A socket in the directory, or, where the path would be too long for one, in the temporary directory."""
        inside = self.path.absolute() / f"{name}.sock"
        if len(os.fsencode(inside)) <= _SOCKET_PATH_BYTES:
            return inside
        digest = hashlib.sha256(os.fsencode(self.path.resolve())).hexdigest()[:16]
        return pathlib.Path(tempfile.gettempdir()) / f"penstock-{os.getuid()}-{digest}-{name}.sock"

    def create(self) -> None:
        """Make the directory, readable by its owner only: the log holds the events' own bytes."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def pinned(self) -> api_pipeline.BatchPipeline | None:
        """The last accepted pipeline object. Raises DirectoryError when it can't be read."""
        if not self._pinned_path.exists():
            return None
        try:
            return api_pipeline.BatchPipeline.model_validate_json(self._pinned_path.read_bytes())
        except ValueError as error:
            raise DirectoryError(
                f"{self._pinned_path}: not a pipeline object this release can read; "
                f"restore the file, or remove it to accept any edit ({error})"
            ) from error

    def pin(self, pipeline: api_pipeline.BatchPipeline, folder: pathlib.Path) -> None:
        """Remember what was accepted, and the folder it was started in; the object in one step."""
        self._write(_FOLDER, os.fsencode(folder.absolute()))
        self._write(_PINNED, pipeline.model_dump_json(by_alias=True, exclude_unset=True, indent=2).encode())

    def folder(self) -> pathlib.Path:
        """Where the pipeline was started last; the current folder where that isn't known."""
        noted = self.path / _FOLDER
        return pathlib.Path(os.fsdecode(noted.read_bytes())) if noted.exists() else pathlib.Path.cwd()

    def retired(self) -> dict[str, int]:
        """Sinks that were removed, with the time in microseconds since the epoch. Raises DirectoryError."""
        noted = self.path / _RETIRED
        try:
            return msgspec.json.decode(noted.read_bytes(), type=dict[str, int]) if noted.exists() else {}
        except msgspec.MsgspecError as error:
            raise DirectoryError(
                f"{noted}: can't be read; remove it to give up what removed sinks have not read ({error})"
            ) from error

    def retire(self, sinks: Mapping[str, int]) -> None:
        """Remember these, and no others."""
        if sinks != self.retired():
            self._write(_RETIRED, msgspec.json.encode(dict(sinks)))

    def _write(self, name: str, content: bytes) -> None:
        written = self.path / f"{name}.new"
        with open(written, "wb", opener=_private) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        written.replace(self.path / name)


def _private(path: str, flags: int) -> int:
    """The object may hold literals that are nobody else's business."""
    return os.open(path, flags, 0o600)


def default_for(namespace: str, name: str) -> DataDirectory:
    """Where a pipeline of this name keeps its data unless told otherwise."""
    return DataDirectory(DEFAULT_ROOT / namespace / name)


def find(data: pathlib.Path | None, root: pathlib.Path = DEFAULT_ROOT) -> DataDirectory:
    """The directory a command means: `data`, else the only one below `root`. Raises DirectoryError."""
    if data is not None:
        if not (data / "log.db").exists() and not (data / _PINNED).exists():
            raise DirectoryError(f"{data}: no pipeline's data here (no log.db); name the directory that `penstock run` uses")
        return DataDirectory(data)
    # A start that failed leaves a log behind, but no accepted pipeline.
    found = sorted(path.parent for path in root.glob(f"*/*/{_PINNED}"))
    if len(found) == 1:
        return DataDirectory(found[0])
    if not found:
        raise DirectoryError(f"no pipeline has run here yet (looked in {root}/); start one with `penstock run`, or give --data")
    raise DirectoryError(f"several pipelines have run here, choose one with --data: {', '.join(map(str, found))}")
