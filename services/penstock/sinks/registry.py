"""From a sink of the pipeline object to its writer."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import TypeVar

from penstock.api.model import sinks
from penstock.sinks import port, tables
from penstock.sinks.files import formats as files_format
from penstock.sinks.files import writer as files

T = TypeVar("T")

_LOCAL = "file://"


def open_writer(sink: sinks.Sink, *, directory: pathlib.Path) -> port.SinkWriter:
    """The writer, with nothing opened yet; relative paths are relative to `directory`, the one Penstock was started in.

    Raises SinkError (config) for a type that has no writer here, or whose settings are missing.
    """
    build = _BUILDERS.get(sink.type)
    if build is None:
        known = " and ".join(sorted(_BUILDERS))
        raise tables.misconfigured(
            "SINK_TYPE", f"sink {sink.name}: there is no writer for type {sink.type}", f"use {known}, the ones there are"
        )
    return build(sink, directory)


def _duckdb(sink: sinks.Sink, directory: pathlib.Path) -> port.SinkWriter:
    # Here and not above: who only writes files does without the extra that brings DuckDB.
    from penstock.sinks.duckdb import writer as duckdb

    settings = _settings(sink, sink.duckdb)
    policy = tables.TablePolicy(sink.table_policy or tables.TablePolicy.CREATE_IF_MISSING.value)
    return duckdb.DuckDBWriter(directory / settings.path, table_policy=policy)


def _files(sink: sinks.Sink, directory: pathlib.Path) -> port.SinkWriter:
    settings = _settings(sink, sink.files)
    if "://" in settings.url and not settings.url.startswith(_LOCAL):
        raise tables.misconfigured(
            "FILES_URL", f"sink {sink.name}: {settings.url} is not on this machine", "use file:///absolute/path"
        )
    return files.FilesWriter(
        directory / settings.url.removeprefix(_LOCAL),
        format_=files_format.Format(settings.format),
        partitions=[partition.name for partition in settings.partition],
    )


def _settings(sink: sinks.Sink, settings: T | None) -> T:
    if settings is None:
        raise tables.misconfigured("SINK_TYPE", f"sink {sink.name}: type {sink.type} without its settings", "add them")
    return settings


_BUILDERS: Mapping[str, Callable[[sinks.Sink, pathlib.Path], port.SinkWriter]] = {"DuckDB": _duckdb, "Files": _files}
