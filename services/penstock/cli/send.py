"""`penstock send`: a file or a pipe of events into a running pipeline, with every answer counted."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import signal
import sys
from typing import Any

import click
import rich.console
import rich.progress

from penstock.cli import exits, ndjson
from penstock.cli.sending import cursor as cursors
from penstock.cli.sending import door as doors
from penstock.cli.sending import outcome as sending
from penstock.cli.sending import sender

_REQUEST_BYTES = 2 << 20
_SHOWN_REJECTS = 10

EPILOG = """\b
Examples:
  penstock send events.ndjson
  penstock send events.ndjson --cursor events.cursor     # kill it, run it again: it goes on where it was
  tail -F app.log | penstock send - --to ingest:9090
  penstock send events.ndjson --token-file token --ca ca.crt

\b
Exit codes:
  0 every event was accepted · 1 some were rejected, or the pipeline refused · 3 it does not answer
"""


_FILE = click.Path(exists=True, dir_okay=False, path_type=pathlib.Path)


@click.command(epilog=EPILOG, short_help="Stream a file of events into a pipeline.")
@click.argument("file", metavar="FILE|-", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=str))
@click.option("--to", "address", default="127.0.0.1:9090", show_default=True, help="gRPC address of the pipeline's ingest.")
@click.option("--token-file", type=_FILE, help="File with the token the door asks for.")
@click.option("--tls", is_flag=True, help="Speak TLS, with the certificates this machine trusts.")
@click.option("--ca", type=_FILE, help="Speak TLS, and trust this certificate (PEM) instead.")
@click.option("--batch", default=2000, show_default=True, type=click.IntRange(1, 100_000), help="Events per request.")
@click.option("--window", default=16, show_default=True, type=click.IntRange(1, 1024), help="Requests in flight.")
@click.option(
    "--cursor",
    "cursor_path",
    type=click.Path(dir_okay=False, path_type=pathlib.Path),
    help="File that remembers how far this got.",
)
@click.option("--rate", default=0.0, type=click.FloatRange(0), help="At most this many events per second.")
@click.option(
    "--give-up-after", default=60.0, show_default=True, type=click.FloatRange(0), help="Seconds without an answer; 0: never."
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="json: one summary object on stdout.")
def send(
    file: str,
    address: str,
    token_file: pathlib.Path | None,
    tls: bool,
    ca: pathlib.Path | None,
    batch: int,
    window: int,
    cursor_path: pathlib.Path | None,
    rate: float,
    give_up_after: float,
    output: str,
) -> None:
    """Stream newline-delimited JSON from FILE (or - for stdin) and wait until every event is answered.

    A broken connection is made again and what was not acknowledged is sent again, so an event may arrive twice and is never
    lost; deduplicate in the pipeline where that matters.
    """
    if file == "-" and cursor_path:
        raise click.UsageError("--cursor needs a FILE: what comes through a pipe can't be read again from where it stopped")
    if rate:
        batch = max(1, min(batch, int(rate / 10)))
    descriptor = sys.stdin.fileno() if file == "-" else os.open(file, os.O_RDONLY)
    reader = ndjson.LineReader(descriptor, events=batch, max_bytes=_REQUEST_BYTES)
    with _Report(reader, size=os.fstat(descriptor).st_size if file != "-" else 0, quiet=output == "json") as report:
        totals = _deliver(
            doors.Door(
                address=address,
                tls=tls or ca is not None,
                ca=ca.read_bytes() if ca else b"",
                token=token_file.read_text().strip() if token_file else "",
            ),
            reader,
            window=window,
            events_per_second=rate,
            source=file,
            cursor_path=cursor_path,
            patience=sending.Patience(give_up_seconds=give_up_after),
            listener=sending.Listener(progress=report.progress, rejected=report.rejected, trouble=report.trouble),
        )
    report.finish(totals, output)


def _deliver(to: doors.Door, reader: ndjson.LineReader, **options: Any) -> sending.Totals:
    try:
        return asyncio.run(_interruptible(to, reader, options))
    except cursors.CursorError as error:
        raise exits.Invalid(str(error), "remove the cursor file, or name another with --cursor") from error
    except sending.UnreachableError as error:
        raise exits.Unreachable(str(error), error.remedy) from error
    except sending.SendError as error:
        raise exits.Invalid(str(error), error.remedy) from error
    except OSError as error:
        raise exits.Invalid(str(error)) from error


async def _interruptible(to: doors.Door, reader: ndjson.LineReader, options: dict[str, Any]) -> sending.Totals:
    """Run the sender; SIGTERM ends it as Ctrl-C does, with the cursor saved."""
    running = asyncio.create_task(sender.StreamSender(to, reader.batches(), **options).run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    try:
        return await running
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


class _Report:
    """What a person sees while it runs, and the summary at the end."""

    def __init__(self, reader: ndjson.LineReader, *, size: int, quiet: bool) -> None:
        self._reader = reader
        self._quiet = quiet
        self._console = rich.console.Console(stderr=True, highlight=False)
        columns = (
            rich.progress.BarColumn(),
            rich.progress.TaskProgressColumn(),
            rich.progress.TextColumn("{task.fields[events]:,} events"),
            rich.progress.TextColumn("{task.fields[rejected]:,} rejected"),
            rich.progress.TimeElapsedColumn(),
        )
        shown = self._console.is_terminal and not quiet
        self._bar = rich.progress.Progress(*columns, console=self._console, disable=not shown, transient=True)
        self._task = self._bar.add_task("send", total=size or None, events=0, rejected=0)
        self._rejects = 0
        self._first_rejects: list[dict[str, Any]] = []

    def __enter__(self) -> _Report:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def progress(self, totals: sending.Totals) -> None:
        # The line ends are not in the events' bytes.
        done = totals.bytes + totals.answered
        self._bar.update(self._task, completed=done, events=totals.answered, rejected=totals.rejected)

    def trouble(self, sentence: str) -> None:
        self._console.print(sentence, markup=False, style="yellow", soft_wrap=True)

    def rejected(self, reject: sending.Rejected) -> None:
        self._rejects += 1
        if self._rejects > _SHOWN_REJECTS:
            return
        line = self._reader.line_of(reject.event)
        self._first_rejects.append(
            {"line": line, "code": reject.code, "field": reject.field, "reason": reject.reason, "remedy": reject.remedy}
        )
        if not self._quiet:
            remedy = f"\n    {reject.remedy}" if reject.remedy else ""
            field = f"{reject.field}: " if reject.field else ""
            self._console.print(f"line {line}: {reject.code}: {field}{reject.reason}{remedy}", markup=False, soft_wrap=True)

    def finish(self, totals: sending.Totals, output: str) -> None:
        """Print the summary; leaves the command with 1 when something was rejected."""
        oversized = self._reader.oversized_lines
        if output == "json":
            click.echo(json.dumps(self._summary(totals)))
        else:
            click.echo(_sentence(totals, len(oversized)), err=True)
            self._say_what_is_not_shown()
        if totals.rejected or oversized:
            raise SystemExit(exits.INVALID)

    def _summary(self, totals: sending.Totals) -> dict[str, Any]:
        return {
            "events": totals.answered,
            "accepted": totals.accepted,
            "rejected": totals.rejected,
            "resent": totals.resent,
            "reconnects": totals.reconnects,
            "oversized_lines": self._reader.oversized_lines,
            "first_rejects": self._first_rejects,
        }

    def _say_what_is_not_shown(self) -> None:
        for line in self._reader.oversized_lines[:_SHOWN_REJECTS]:
            limit = ndjson.LARGEST_EVENT_BYTES
            click.echo(f"line {line}: longer than {limit:,} bytes, which no pipeline takes; it was not sent", err=True)
        if self._rejects > _SHOWN_REJECTS:
            click.echo(f"{self._rejects - _SHOWN_REJECTS:,} more were rejected than are shown", err=True)


def _sentence(totals: sending.Totals, oversized: int) -> str:
    parts = [f"{totals.accepted:,} events accepted", f"{totals.rejected + oversized:,} rejected"]
    if totals.reconnects:
        parts.append(f"{totals.reconnects:,} reconnects ({totals.resent:,} events sent again)")
    return " · ".join(parts)
