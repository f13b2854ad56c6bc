"""What `penstock dlq replay` says: a bar while it goes, one line when it is done, and what stayed behind and why."""

from __future__ import annotations

import types
from typing import Self

import click
import rich.console
import rich.progress

from penstock.machine import replays
from penstock.replay import job, survey
from penstock.v1 import control_pb2

_STAYED = {
    "replaying": "under way already",
    "quarantined": "quarantined (a higher --max-replays frees them)",
    "unsettled": "in blocks that their lane has not finished (try again in a moment)",
    "homeless": "of sinks that the pipeline no longer has",
    "unreadable": "that are no letters this release can read (penstock dlq ls says why)",
}


class Bar:
    """A bar on a terminal's standard error, nothing elsewhere."""

    def __init__(self) -> None:
        self._bar = rich.progress.Progress(console=rich.console.Console(stderr=True), transient=True)
        self._bar.disable = not self._bar.console.is_terminal
        self._task = self._bar.add_task("replaying", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None) -> None:
        self._bar.stop()

    def show(self, progress: control_pb2.ReplayProgress) -> None:
        self._bar.update(self._task, completed=progress.published, total=progress.selected)


def print_dry_run(found: survey.Survey) -> None:
    """What would be put back."""
    count = len(found.selected)
    click.echo(f"{count:,} would be put back" if count else "nothing outstanding matches")
    _print_stayed(replays.progress_message(job.Progress(survey=found)))


def print_outcome(last: control_pb2.ReplayProgress) -> None:
    """What was put back, and what has become of it."""
    if last.recovered:
        click.echo(f"{last.recovered:,} were put back before by a replay that was interrupted")
    if not last.selected:
        click.echo("nothing outstanding matches")
    else:
        under_way = last.published - last.landed - last.failed_again
        parts = [f"{last.landed:,} landed", f"{last.failed_again:,} failed again"]
        parts += [f"{under_way:,} under way (penstock dlq ls shows them)"] if under_way else []
        left = last.selected - last.published
        parts += [f"{left:,} left where they were"] if last.suspended else []
        click.echo(f"{last.published:,} put back: {', '.join(parts)}")
        if left and last.finished and not last.suspended:
            click.echo(f"{left:,} left where they were, for their events are damaged (penstock dlq export says which)")
    _print_stayed(last)


def _print_stayed(last: control_pb2.ReplayProgress) -> None:
    for name, words in _STAYED.items():
        if count := getattr(last, name):
            click.echo(f"{count:,} {words}")
