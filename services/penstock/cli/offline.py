"""A pipeline's log opened by a command, with or without its processes: in a data directory, or at the brokers of a file."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import pathlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from penstock.api import load, machine
from penstock.api.model import pipeline as api_pipeline
from penstock.cli import control, exits
from penstock.ingest import secret
from penstock.log import port
from penstock.log.embedded import front as embedded
from penstock.machine import directory, lanes, memory, opening, secrets
from penstock.sinks import port as sinks_port

_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The object that was accepted last, and its log; `data` None where a file told of the brokers."""

    pipeline: api_pipeline.BatchPipeline
    log: port.EventLog
    data: directory.DataDirectory | None

    @property
    def memory(self) -> memory.Memory:
        """Where the pipeline keeps what its next start must know."""
        if opening.is_shared(self.pipeline) or self.data is None:
            return memory.InLog(self.log)
        return memory.InDirectory(self.data)


@contextlib.asynccontextmanager
async def opened(
    data: directory.DataDirectory | None, file: pathlib.Path | None, secrets_path: pathlib.Path, *, writes: bool = False
) -> AsyncIterator[Opened]:
    """`data` or `file`, which goes first; `writes`: an embedded log is opened as its one writer."""
    if file is not None:
        pipeline = _described(file)
        if not opening.is_shared(pipeline):
            raise exits.Invalid(f"{file}: spec.log.type is not Kafka, so its log is in a data directory", "name it with --data")
        folder = secrets_path
    else:
        assert data is not None  # noqa: S101 - one of the two was asked for
        found = data.pinned()
        if found is None:
            raise exits.Unreachable(f"no pipeline has been accepted in {data.path} yet", "start one with penstock run")
        pipeline, folder = found, data.secrets_path
    log = await _open(pipeline, data, folder, writes=writes)
    try:
        yield Opened(pipeline=pipeline, log=log, data=None if file else data)
    finally:
        await log.close()


def _described(file: pathlib.Path) -> api_pipeline.BatchPipeline:
    return machine.for_processes(load.read_one(file.read_bytes(), file=str(file))[0])


async def _open(
    pipeline: api_pipeline.BatchPipeline, data: directory.DataDirectory | None, folder: pathlib.Path, *, writes: bool
) -> port.EventLog:
    if opening.is_shared(pipeline) or data is None or pipeline.spec.source.type == "Kafka":
        known = secrets.SecretStore(folder, os.environ, secrets.names(pipeline))
        return await opening.open_log(pipeline, data, known, read_only=not writes)
    if writes:
        return await embedded.EmbeddedLog.open(data.log_path, partitions=lanes.partitions(pipeline))
    return await embedded.EmbeddedLog.open(data.log_path, read_only=True)


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """What the work comes to; a log that can't be had is one line."""
    try:
        return asyncio.run(work)
    except port.GroupInUseError as error:
        raise exits.Invalid(
            "processes of this lane run, and only they may do that", "ask them, with --at and their control addresses"
        ) from error
    except (port.LogError, directory.DirectoryError, secret.SecretError) as error:
        raise exits.Unreachable(str(error)) from error
    except sinks_port.SinkError as error:
        raise exits.Unreachable(error.failure.message, error.failure.remedy) from error


def where(data: pathlib.Path | None, file: pathlib.Path | None) -> directory.DataDirectory | None:
    """The directory a command means, None where a file is given."""
    return None if file is not None else control.find(data)
