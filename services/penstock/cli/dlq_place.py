"""Where a command finds dead letters: a pipeline's log, in its data directory or straight at the brokers, and whose topic."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import click
import msgspec
import pydantic

from penstock.api import load
from penstock.api.model import pipeline as api_pipeline
from penstock.api.model import replay as api_replay
from penstock.cli import control, exits, offline
from penstock.core import dialects, failpoints, selection
from penstock.log import port
from penstock.machine import directory, opening, replays, secrets, strays
from penstock.replay import strays as replay_strays
from penstock.replay import survey

_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A pipeline that is shared is asked at its brokers: `pipeline` says which. `topic` None: its own letters."""

    data: directory.DataDirectory | None
    pipeline: api_pipeline.BatchPipeline | None
    secrets_path: pathlib.Path
    topic: api_replay.KafkaTopic | None = None

    @property
    def is_shared(self) -> bool:
        """Whether any process may write the log, so that a command needs nobody who runs."""
        return self.pipeline is not None and opening.is_shared(self.pipeline)

    @property
    def secret_store(self) -> secrets.SecretStore:
        names = secrets.names(self.pipeline) if self.pipeline else set()
        if self.topic:
            names |= secrets.names_in(self.topic)
        return secrets.SecretStore(self.secrets_path, os.environ, names)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What a command reads: the log, and the letters of others where a topic was named."""

    log: port.EventLog
    pipeline: api_pipeline.BatchPipeline | None
    others: replay_strays.Strays | None

    def order(self, filters: selection.Filters, max_replays: int) -> survey.Order:
        """What a replay would be told."""
        if self.pipeline is None:
            return survey.Order(filters=filters, lanes=frozenset(), max_replays=max_replays)
        return replays.order(self.pipeline, filters, max_replays, self.others)


_OPTIONS = (
    click.option(
        "--data", type=click.Path(path_type=pathlib.Path), help="Data directory.  [default: the only one in ./.penstock]"
    ),
    click.option(
        "-f",
        "--file",
        "pipeline_file",
        type=click.Path(exists=True, dir_okay=False, path_type=pathlib.Path),
        help="A pipeline whose log is in Kafka: asked at its brokers, without a data directory.",
    ),
    click.option(
        "--secrets",
        type=click.Path(path_type=pathlib.Path),
        default=pathlib.Path("secrets"),
        show_default=True,
        help="With -f: folder of <name>/<key> files; else PENSTOCK_SECRET_<NAME>_<KEY>.",
    ),
    click.option("--topic", help="Dead letters in this Kafka topic, of Connect, Spring, the broker or another pipeline."),
    click.option("--brokers", help="With --topic: its brokers, HOST:PORT,…  [default: those of the pipeline]"),
)
_DIALECTS = click.Choice([dialect.value for dialect in dialects.Dialect], case_sensitive=False)


def options(command: Callable[..., _Result]) -> Callable[..., _Result]:
    """The options that say where; the command gets them as one argument, `place`."""
    return _options(command, "--topic-dialect", "--dialect")


def options_of_export(command: Callable[..., _Result]) -> Callable[..., _Result]:
    """The same, where `--dialect` is what is written."""
    return _options(command, "--topic-dialect")


def _options(command: Callable[..., _Result], *names: str) -> Callable[..., _Result]:
    @functools.wraps(command)
    def gathered(
        *,
        data: pathlib.Path | None,
        pipeline_file: pathlib.Path | None,
        secrets: pathlib.Path,
        topic: str | None,
        brokers: str | None,
        topic_dialect: str | None,
        **others: Any,
    ) -> _Result:
        named = _topic(topic, brokers, topic_dialect)
        found = of_pipeline(_pipeline(pipeline_file), secrets, named) if pipeline_file else in_directory(data, named)
        return command(place=found, **others)

    told = "Whose headers the letters of --topic carry.  [default: each says so itself]"
    for option in reversed((*_OPTIONS, click.option(*names, "topic_dialect", type=_DIALECTS, help=told))):
        gathered = option(gathered)
    return gathered


def in_directory(data: pathlib.Path | None, topic: api_replay.KafkaTopic | None = None) -> Place:
    """Where a pipeline has run on this machine."""
    found = control.find(data)
    try:
        return Place(data=found, pipeline=found.pinned(), secrets_path=found.secrets_path, topic=topic)
    except directory.DirectoryError as error:
        raise exits.Unreachable(str(error)) from error


def of_pipeline(
    pipeline: api_pipeline.BatchPipeline, secrets_path: pathlib.Path, topic: api_replay.KafkaTopic | None = None
) -> Place:
    """At its brokers."""
    if not opening.is_shared(pipeline):
        raise exits.Invalid(
            "spec.log.type is not Kafka, so its log is where it runs", "name its data directory with --data, and leave -f out"
        )
    return Place(data=None, pipeline=pipeline, secrets_path=secrets_path, topic=topic)


def _pipeline(file: pathlib.Path) -> api_pipeline.BatchPipeline:
    return load.load_one(file.read_bytes(), file=str(file))


def _topic(topic: str | None, brokers: str | None, dialect: str | None) -> api_replay.KafkaTopic | None:
    if topic is None:
        if brokers or dialect:
            raise click.UsageError("--brokers and --topic-dialect go with --topic.")
        return None
    told: dict[str, Any] = {"topic": topic, "dialect": dialect}
    if brokers:
        told["bootstrapServers"] = [one.strip() for one in brokers.split(",")]
    try:
        return api_replay.KafkaTopic.model_validate_json(msgspec.json.encode(told))
    except pydantic.ValidationError as error:
        [first, *_] = error.errors()
        option = "--brokers" if first["loc"][0] == "bootstrapServers" else "--topic"
        raise click.BadParameter(f'"{first["input"]}": {first["msg"]}', param_hint=option) from error


def with_log(place: Place, filters: selection.Filters, use: Callable[[Opened], Awaitable[_Result]]) -> _Result:
    """What `use` makes of the log, which is opened beside whoever writes it."""

    async def work() -> _Result:
        async with _opened(place, filters) as opened:
            return await use(opened)

    return run(work())


@contextlib.asynccontextmanager
async def _opened(place: Place, filters: selection.Filters) -> AsyncIterator[Opened]:
    async with contextlib.AsyncExitStack() as stack:
        log = await _log(place, read_only=True)
        stack.push_async_callback(log.close)
        others = None
        if place.topic:
            if place.pipeline is None:
                raise exits.Unreachable("no pipeline has run here, and --topic needs to know its sinks", "start it first")
            found = strays.opened(place.pipeline, log, place.topic, filters.sinks, place.secret_store)
            others = await stack.enter_async_context(found)
        yield Opened(log=log, pipeline=place.pipeline, others=others)


@contextlib.asynccontextmanager
async def desk(place: Place, failpoint: failpoints.Failpoint) -> AsyncIterator[replays.ReplayDesk]:
    """Where replays of a pipeline are asked for whose log this process may write."""
    assert place.pipeline is not None  # noqa: S101 - it is what says so
    log = await _log(place, read_only=False)
    try:
        yield replays.ReplayDesk(log, place.pipeline, place.secret_store, failpoint)
    finally:
        await log.close()


async def _log(place: Place, *, read_only: bool) -> port.EventLog:
    if place.data and read_only:
        return await opening.open_there(place.data, os.environ)
    assert place.pipeline is not None  # noqa: S101 - one of the two is always there
    return await opening.open_log(place.pipeline, place.data, place.secret_store, read_only=read_only)


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """What `work` comes to, with what goes wrong as an exit code."""
    try:
        return offline.run(work)
    except strays.StraysError as error:
        raise exits.Invalid(str(error)) from error
