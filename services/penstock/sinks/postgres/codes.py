"""What an error of the server means: whose fault it is, by its SQLSTATE, as data.

The codes are those of the appendix "PostgreSQL Error Codes"; the longest prefix that fits decides. What no line names is
UNCLASSIFIED, so that nothing is dead-lettered because of a rule that was guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import asyncpg

from penstock.core import results
from penstock.sinks import port

_DATA, _OUTAGE = results.ResultClass.DATA, results.ResultClass.OUTAGE
_PRESSURE, _CONFIG = results.ResultClass.PRESSURE, results.ResultClass.CONFIG

CLASSES: Mapping[str, tuple[results.ResultClass, str]] = {
    "08": (_OUTAGE, ""),
    "0A": (_CONFIG, "the table can't do this; see the message"),
    "22": (_DATA, ""),
    "23": (_DATA, ""),
    "25006": (_OUTAGE, "point postgres.host at the primary"),
    "25P03": (_OUTAGE, ""),
    "25P04": (_OUTAGE, ""),
    "28": (_OUTAGE, "renew the secret that postgres.authentication refers to; landing then goes on by itself"),
    "3D000": (_CONFIG, "create the database, or correct postgres.database"),
    "3F000": (_CONFIG, "create the schema, or correct the table's name"),
    "40": (_PRESSURE, ""),
    "42": (_CONFIG, "compare the table with the pipeline's columns"),
    "42501": (_CONFIG, "grant the user what is missing"),
    "42P01": (_CONFIG, "create the table, or set tablePolicy: CreateIfMissing"),
    "44000": (_DATA, ""),
    "53": (_OUTAGE, ""),
    "53100": (_OUTAGE, "make room on the server's disk"),
    "53300": (_PRESSURE, "lower postgres.maxConnections, or raise max_connections on the server"),
    "54000": (_DATA, ""),
    "54001": (_OUTAGE, ""),
    "55P03": (_PRESSURE, ""),
    "55006": (_OUTAGE, ""),
    "57": (_OUTAGE, ""),
    "57P04": (_CONFIG, "the database was dropped: create it"),
    "58": (_OUTAGE, ""),
}
DATA_PATTERNS = [f"{prefix}%" for prefix, (result_class, _) in CLASSES.items() if result_class is _DATA]
"""As LIKE takes them."""
_REJECTED = "CREDENTIALS_REJECTED"
_LINE = re.compile(r"^COPY \S+, line (\d+)", re.MULTILINE)
_MESSAGE_CHARACTERS = 500


def rule(sqlstate: str) -> tuple[results.ResultClass, str]:
    """The class of a SQLSTATE and what to do about it."""
    for length in range(len(sqlstate), 1, -1):
        found = CLASSES.get(sqlstate[:length])
        if found is not None:
            return found
    return results.ResultClass.UNCLASSIFIED, ""


def is_data(error: asyncpg.PostgresError) -> bool:
    return rule(error.sqlstate or "")[0] is _DATA


def sink_error(place: str, error: asyncpg.PostgresError) -> port.SinkError:
    """An error of the server as the port's. `place` is the database as messages may name it.

    It was not met while rows were tried, so it is none's fault, whatever its code: then a setting is wrong.
    """
    code = error.sqlstate or type(error).__name__
    result_class, remedy = rule(code)
    if result_class is _DATA:
        result_class, remedy = _CONFIG, "check the settings below postgres, and those of the server for this user"
    return port.SinkError(
        results.Failure(
            result_class=result_class,
            code=_REJECTED if code.startswith("28") else code,
            message=f"{place}: {message(error)}",
            remedy=error.hint or remedy if result_class is _CONFIG else remedy,
        )
    )


def message(error: asyncpg.PostgresError) -> str:
    """One line: what the server says, with the column it names."""
    said = str(error.args[0]) if error.args else type(error).__name__
    column = re.search(r", column ([^:\n]+)", getattr(error, "context", None) or "")
    where = f'column "{column[1]}": ' if column else ""
    return line(error.sqlstate or "", where + said, getattr(error, "detail", None) or "")


def line(sqlstate: str, said: str, detail: str) -> str:
    """What the server says, shortened."""
    # The detail of a broken constraint is the row itself: no two letters of one cause would look alike.
    text = " ".join((f"{said} ({detail})" if detail and not sqlstate.startswith("23") else said).split())
    return text if len(text) <= _MESSAGE_CHARACTERS else text[: _MESSAGE_CHARACTERS - 1] + "…"


def refused_line(error: asyncpg.PostgresError) -> int | None:
    """The row of the COPY that was refused, from 0, where the message tells."""
    found = _LINE.search(getattr(error, "context", None) or "")
    return int(found[1]) - 1 if found else None
