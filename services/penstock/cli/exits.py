"""What a command's exit code means, and the two errors that carry one.

0: done, the answer is yes. 1: the answer is no, or the input is invalid. 2: the command line itself is wrong (click's own).
3: the other side can't be reached or is in an outage. 130: interrupted. An expected failure is one line and its remedy,
never a traceback.
"""

from __future__ import annotations

from typing import IO, Any

import click

INVALID = 1
USAGE = 2
UNREACHABLE = 3
INTERRUPTED = 130
BROKEN_PIPE = 141


class Invalid(click.ClickException):
    """The answer is no: refused input, a query that can't run, events that were rejected. `remedy` says what to do."""

    exit_code = INVALID

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy

    def show(self, file: IO[Any] | None = None) -> None:
        remedy = f"\n    {self.remedy}" if self.remedy else ""
        click.echo(f"error: {self.message}{remedy}", file=file, err=file is None)


class Unreachable(Invalid):
    """The pipeline, its log or its store does not answer; the same command may work later."""

    exit_code = UNREACHABLE
