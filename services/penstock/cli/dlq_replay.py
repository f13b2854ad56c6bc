"""`penstock dlq replay` and `penstock dlq discard`: what changes the fate of dead letters.

A dry run only reads.
"""

from __future__ import annotations

import click

from penstock.cli import dlq_job, dlq_place, dlq_select, exits
from penstock.cli.showing import replay_text
from penstock.core import selection
from penstock.machine import replays
from penstock.replay import job, watch
from penstock.v1 import control_pb2

REPLAY_EPILOG = """\b
Examples:
  penstock dlq replay --dry-run
  penstock dlq replay --fingerprint 5b1e07c2 --reason "column widened"
  penstock dlq replay --sink warehouse --since 2h --rate 50
  penstock dlq replay -f pipeline.yaml --topic orders-dlq --dry-run

\b
Only the rows that failed are made again, by their own sink's lane, from the event's own bytes and today's transform.
It is safe to interrupt: run it again, and nothing goes twice. A letter that has failed after --max-replays replays is
quarantined; a higher bound frees it.

\b
Exit codes:
  0 everything that was put back has landed or is under way, or nothing matches
  1 some failed again, or so many that the replay was suspended
  3 no pipeline runs, or its brokers do not answer
"""

DISCARD_EPILOG = """\b
Examples:
  penstock dlq discard --fingerprint 5b1e07c2 --reason "load test"
  penstock dlq discard --sink archive --until 2026-01-31T08:00:00Z --reason "agreed with the team of archive"

\b
Exit codes:
  0 discarded, even if nothing matches · 3 no pipeline runs
"""


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
@dlq_place.options
def replay(
    filters: selection.Filters,
    dry_run: bool,
    rate: int,
    max_replays: int,
    suspend_percent: int,
    suspend_minimum: int,
    reason: str,
    place: dlq_place.Place,
) -> None:
    """Put outstanding dead letters back through their own sink's lane, in the order in which the events came in."""
    if dry_run:
        replay_text.print_dry_run(dlq_job.surveyed(place, filters, max_replays))
        return
    request = control_pb2.ReplayRequest(
        letters=replays.letters_message(filters, place.topic),
        events_per_second=rate,
        max_replays=max_replays,
        reason=reason,
        wait_seconds=dlq_job.WAIT_SECONDS,
        suspend_percent=suspend_percent,
        suspend_minimum_events=suspend_minimum,
    )
    with replay_text.Bar() as bar:
        last = dlq_job.replayed(place, request, bar.show)
    replay_text.print_outcome(last)
    judge(last)


def judge(last: control_pb2.ReplayProgress) -> None:
    """Raises Invalid where not everything that was put back is in the store or under way to it."""
    if last.suspended:
        raise exits.Invalid(f"suspended: {last.suspended}", "penstock dlq analyse says why; run it again to go on with the rest")
    if last.failed_again:
        raise exits.Invalid(f"{last.failed_again:,} of {last.published:,} failed again", "penstock dlq analyse says why")


@click.command("discard", epilog=DISCARD_EPILOG, short_help="Give dead letters up for good.")
@dlq_select.options
@click.option("--reason", required=True, help="Why; kept with each letter.")
@dlq_place.options
def discard(filters: selection.Filters, reason: str, place: dlq_place.Place) -> None:
    """Give up dead letters that wait, outstanding or quarantined. They can be listed and exported still, but not replayed."""
    if not reason.strip():
        raise click.BadParameter("say why: the reason is kept with each letter", param_hint="--reason")
    request = control_pb2.DiscardRequest(letters=replays.letters_message(filters, place.topic), reason=reason)
    discarded = dlq_job.discarded(place, request)
    click.echo(f"{discarded:,} discarded" if discarded else "nothing outstanding matches")
