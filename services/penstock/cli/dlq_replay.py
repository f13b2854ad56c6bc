"""`penstock dlq replay` and `penstock dlq discard`: what changes the fate of dead letters.

Both go through the running pipeline, because a log has one writer. A dry run only reads.
"""

from __future__ import annotations

import pathlib

import click

from penstock.cli import control, dlq_select, exits
from penstock.cli.showing import replay_text
from penstock.core import selection
from penstock.machine import directory, replays
from penstock.replay import job, survey, watch
from penstock.v1 import control_pb2

REPLAY_EPILOG = """\b
Examples:
  penstock dlq replay --dry-run
  penstock dlq replay --fingerprint 5b1e07c2 --reason "column widened"
  penstock dlq replay --sink warehouse --since 2h --rate 50

\b
Only the rows that failed are made again, by their own sink's lane, from the event's own bytes and today's transform.
It is safe to interrupt: run it again, and nothing goes twice. A letter that has failed after --max-replays replays is
quarantined; a higher bound frees it.

\b
Exit codes:
  0 everything that was put back has landed or is under way, or nothing matches
  1 some failed again, or so many that the replay was suspended
  3 no pipeline runs
"""

DISCARD_EPILOG = """\b
Examples:
  penstock dlq discard --fingerprint 5b1e07c2 --reason "load test"
  penstock dlq discard --sink archive --until 2026-01-31T08:00:00Z --reason "agreed with the team of archive"

\b
Exit codes:
  0 discarded, even if nothing matches · 3 no pipeline runs
"""

_NO_END = 365 * 24 * 3600.0
_WAIT_SECONDS = 30.0
_DISCARD_SECONDS = 600.0


@click.command("replay", epilog=REPLAY_EPILOG, short_help="Put outstanding dead letters back through their lanes.")
@dlq_select.options
@click.option("--dry-run", is_flag=True, help="Only say what would be put back.")
@click.option(
    "--rate", type=click.IntRange(1, 1_000_000), default=job.EVENTS_PER_SECOND, show_default=True, help="Letters per second."
)
@click.option(
    "--max-replays",
    type=click.IntRange(1, 100),
    default=selection.MAX_REPLAYS,
    show_default=True,
    help="Leave alone what has failed after so many replays.",
)
@click.option(
    "--suspend-on-failure",
    "suspend_percent",
    type=click.IntRange(1, 100),
    default=watch.SuspendOnFailure().percent,
    show_default=True,
    help="Stop when more than so many percent have failed again; 100 never stops.",
)
@click.option(
    "--suspend-after",
    "suspend_minimum",
    type=click.IntRange(1, 10_000_000),
    default=watch.SuspendOnFailure().minimum,
    show_default=True,
    help="Letters that must be finished before the percentage counts.",
)
@click.option("--reason", default="", help="Kept with each letter that is put back.")
@dlq_select.data
def replay(
    filters: selection.Filters,
    dry_run: bool,
    rate: int,
    max_replays: int,
    suspend_percent: int,
    suspend_minimum: int,
    reason: str,
    data: pathlib.Path | None,
) -> None:
    """Put outstanding dead letters back through their own sink's lane, in the order in which the events came in."""
    where = control.find(data)
    if dry_run:
        replay_text.print_dry_run(_surveyed(where, filters, max_replays))
        return
    request = control_pb2.ReplayRequest(
        letters=replays.letters_message(filters),
        events_per_second=rate,
        max_replays=max_replays,
        reason=reason,
        wait_seconds=_WAIT_SECONDS,
        suspend_percent=suspend_percent,
        suspend_minimum_events=suspend_minimum,
    )
    last = _replayed(where, request)
    replay_text.print_outcome(last)
    if last.suspended:
        raise exits.Invalid(f"suspended: {last.suspended}", "penstock dlq analyse says why; run it again to go on with the rest")
    if last.failed_again:
        raise exits.Invalid(f"{last.failed_again:,} of {last.published:,} failed again", "penstock dlq analyse says why")


@click.command("discard", epilog=DISCARD_EPILOG, short_help="Give dead letters up for good.")
@dlq_select.options
@click.option("--reason", required=True, help="Why; kept with each letter.")
@dlq_select.data
def discard(filters: selection.Filters, reason: str, data: pathlib.Path | None) -> None:
    """Give up dead letters that wait, outstanding or quarantined. They can be listed and exported still, but not replayed."""
    if not reason.strip():
        raise click.BadParameter("say why: the reason is kept with each letter", param_hint="--reason")
    request = control_pb2.DiscardRequest(letters=replays.letters_message(filters), reason=reason)
    where = control.find(data)
    try:
        with control.connected(where) as stub:
            discarded = stub.Discard(request, timeout=_DISCARD_SECONDS).discarded
    except control.NotRunningError as error:
        raise _not_running(error, where) from error
    click.echo(f"{discarded:,} discarded" if discarded else "nothing outstanding matches")


def _surveyed(where: directory.DataDirectory, filters: selection.Filters, max_replays: int) -> survey.Survey:
    pinned = where.pinned()
    empty = survey.Order(filters=filters, lanes=frozenset(), max_replays=max_replays)
    order = replays.order(pinned, filters, max_replays) if pinned else empty
    return dlq_select.with_log(where.path, lambda log: survey.survey(log, order))


def _replayed(where: directory.DataDirectory, request: control_pb2.ReplayRequest) -> control_pb2.ReplayProgress:
    last = control_pb2.ReplayProgress()
    try:
        with control.connected(where) as stub, replay_text.Bar() as bar:
            # Bounded by the letters and the rate; an interrupted call ends the job.
            for last in stub.Replay(request, timeout=_NO_END):
                bar.show(last)
    except control.NotRunningError as error:
        raise (_gone(last, where) if last.selected else _not_running(error, where)) from error
    return last


def _gone(last: control_pb2.ReplayProgress, where: directory.DataDirectory) -> exits.Unreachable:
    return exits.Unreachable(
        f"the pipeline in {where.path} ended when {last.published:,} of {last.selected:,} were put back",
        "start it and run this again: it goes on with the rest, and nothing goes twice",
    )


def _not_running(error: Exception, where: directory.DataDirectory) -> exits.Unreachable:
    return exits.Unreachable(
        str(error), f"start it with `penstock run FILE --data {where.path}`: the process that runs the pipeline writes its log"
    )
