"""A command group that imports a subcommand only when it is run.

`penstock --help` must answer at once and in an installation that has none of the extras, so the listing comes from a table
and never from the modules. A module whose dependency is not installed becomes one line that names the extra.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from collections.abc import Mapping

import click

from penstock.cli import exits


@dataclasses.dataclass(frozen=True, slots=True)
class Lazy:
    """One subcommand: "module:attribute", the line shown in the listing, and the extra that holds what it needs."""

    target: str
    summary: str
    extra: str = ""


class LazyGroup(click.Group):
    """`table` maps a subcommand's name to where it is, in the order of the listing."""

    def __init__(self, *args: object, table: Mapping[str, Lazy], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self._table.get(cmd_name)
        return _load(cmd_name, entry) if entry else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self._table.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self._table and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self._table, n=1)
            hint = f' (did you mean "{near[0]}"?)' if near else ""
            ctx.fail(f'No command "{args[0]}"{hint}. There are: {", ".join(self._table)}.')
        return super().resolve_command(ctx, args)


def _load(name: str, entry: Lazy) -> click.Command:
    module, attribute = entry.target.split(":")
    try:
        command: click.Command = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] == "penstock":
            raise
        package = f"penstock[{entry.extra}]" if entry.extra else "penstock"
        raise exits.Invalid(
            f'penstock {name} needs "{error.name}", which is not installed', f"pip install '{package}'"
        ) from error
    return command
