"""Commands of other programs, run to their end; what they said is in the error when they fail."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Callable, Mapping, Sequence

LIMIT_SECONDS = 1_800.0


class CommandError(Exception):
    """A command that failed: itself, its status, what it said."""


# What runs a command: its words, and its standard input. Answers its standard output.
Runner = Callable[[Sequence[str], str], str]


def run(
    command: Sequence[str],
    stdin: str = "",
    *,
    environment: Mapping[str, str] | None = None,
    folder: pathlib.Path | None = None,
    limit_seconds: float = LIMIT_SECONDS,
) -> str:
    """Its standard output. Raises CommandError when it fails, is not there, or does not end in time."""
    try:
        done = subprocess.run(
            command, input=stdin, env=environment, cwd=folder, capture_output=True, text=True, timeout=limit_seconds, check=False
        )
    except FileNotFoundError:
        raise CommandError(f"{command[0]}: not installed") from None
    except subprocess.TimeoutExpired:
        raise CommandError(f"{' '.join(command)}: not done after {limit_seconds:.0f} s") from None
    if done.returncode:
        raise CommandError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout
