"""Which dead letters a command means: the options that all of them share."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from penstock.core import deadletters, letter_condition, selection

_CATEGORIES = [category.value for category in deadletters.Category]

_Result = TypeVar("_Result")


class Time(click.ParamType[int]):
    """`90s`, `15m`, `2h`, `3d` ago, or an ISO 8601 time (UTC where it names no zone); microseconds since the epoch."""

    name = "TIME"
    _SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}  # noqa: RUF012 - never written

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number, unit = value[:-1], value[-1:]
        if number.isdecimal() and unit in self._SECONDS:
            ago = datetime.timedelta(seconds=int(number) * self._SECONDS[unit])
            return int((datetime.datetime.now(datetime.UTC) - ago).timestamp() * 1_000_000)
        try:
            time = datetime.datetime.fromisoformat(value)
        except ValueError:
            self.fail(f'"{value}" is no time: write 90s, 15m, 2h or 3d for so long ago, or 2026-01-31T08:00:00Z', param, ctx)
        zoned = time if time.tzinfo else time.replace(tzinfo=datetime.UTC)
        return int(zoned.timestamp() * 1_000_000)


_OPTIONS = (
    click.option(
        "--category", multiple=True, type=click.Choice(_CATEGORIES, case_sensitive=False), help="Only these categories."
    ),
    click.option("--sink", multiple=True, help="Only letters of these sinks."),
    click.option("--expression", multiple=True, help="Only failures of these expressions, as `ls` names them."),
    click.option("--fingerprint", multiple=True, help="Only these causes, as `analyse` names them; a beginning will do."),
    click.option("--where", help="Only letters of which this SQL is true, such as \"error_message LIKE '%Nullable%'\"."),
    click.option("--since", type=Time(), help="Only failures since: 90s, 15m, 2h, 3d ago, or an ISO 8601 time."),
    click.option("--until", type=Time(), help="Only failures before that time."),
)


def _condition(where: str | None) -> letter_condition.Condition | None:
    """Checked at once: a command that asks a running pipeline would hear of it late."""
    if where is None:
        return None
    made = letter_condition.Condition(where)
    try:
        made.check()
    except letter_condition.ConditionError as error:
        [problem] = error.problems
        raise click.BadParameter(f"{problem.message}; {problem.remedy}".rstrip("; "), param_hint="--where") from error
    return made


def options(command: Callable[..., _Result]) -> Callable[..., _Result]:
    """The options that narrow; the command gets them as one argument, `filters`."""

    @functools.wraps(command)
    def gathered(
        *,
        category: tuple[str, ...],
        sink: tuple[str, ...],
        expression: tuple[str, ...],
        fingerprint: tuple[str, ...],
        where: str | None,
        since: int | None,
        until: int | None,
        **others: Any,
    ) -> _Result:
        filters = selection.Filters(
            categories=frozenset(category),
            sinks=frozenset(sink),
            expressions=frozenset(expression),
            fingerprints=frozenset(wanted.lower() for wanted in fingerprint),
            since_microseconds=since or 0,
            until_microseconds=until,
            where=_condition(where),
        )
        return command(filters=filters, **others)

    for option in reversed(_OPTIONS):
        gathered = option(gathered)
    return gathered
