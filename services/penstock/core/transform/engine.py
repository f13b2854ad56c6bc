"""The one place where the SQL engine of the transform is opened: in memory, one thread, with every door closed.

A connection reads no file, opens no socket, loads no extension and cannot be configured again. It sees one source, `src`,
whose Arrow table is swapped before each call, so a query is planned once and executed often. Statements stand in the order
open, read or prepare, run; an `Engine` belongs to one thread. The interpreter's lock is released while a query runs.
"""

from __future__ import annotations

import contextlib
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

# The copy it speaks of costs less than planning the query anew, which is the way it recommends (0.4 against 0.8 ms a call).
warnings.filterwarnings("ignore", message="Arrow output on a DB-API result", category=UserWarning)

SOURCE: Final = "src"
"""The name a query reads from."""
DEFAULT_MEMORY_BYTES: Final = 256 << 20
DEFAULT_SECONDS: Final = 10.0

Node = dict[str, Any]
"""One node of the engine's syntax tree, as its JSON form has it."""

_ROWS_PER_CHUNK = 1_000_000
_KIND = re.compile(r"^[A-Z][A-Za-z -]*? Error: ")
# A run of blanks is looked at once, from its first: values are quoted in messages, and may be blank for long.
_HELP = re.compile(
    r"(?<!\s)\s*(?:\n\s*\n|\nLINE \d+:|You might need to add explicit type casts\.|In order to select one,).*", re.DOTALL
)
_POINTER = re.compile(r"\n[^\n]*\n[ \t]*\^\s*\n(?:Error: )?")
_MOST_LETTERS = 500
_MOST_LOOKED_AT = 4 * _MOST_LETTERS


Result = TypeVar("Result")


class QueryError(Exception):
    """A query the engine refuses or fails on; the text is the engine's, without the SQL around it."""


class DataError(QueryError):
    """The data made an expression fail. Other rows of the same call may be fine."""


class LimitError(QueryError):
    """The call ran out of time or memory, or broke the engine, which has been opened anew. Fewer rows may do."""


class _Source:
    """What the engine reads: whichever table is in it now."""

    def __init__(self, empty: pa.Table) -> None:
        self.table = empty

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        stream: object = self.table.__arrow_c_stream__(requested_schema)
        return stream

    def __arrow_c_schema__(self) -> object:
        return self.table.schema.__arrow_c_schema__()


class Engine:
    """One closed-off connection over a source of a fixed schema.

    `memory_limit_bytes` bounds what the engine allocates in blocks, `time_limit_seconds` each call. `share_work` off keeps
    the engine from lifting a repeated expression out of a TRY, where its failure would go uncaught.
    """

    def __init__(
        self,
        schema: pa.Schema,
        *,
        memory_limit_bytes: int = DEFAULT_MEMORY_BYTES,
        time_limit_seconds: float = DEFAULT_SECONDS,
        share_work: bool = True,
    ) -> None:
        self._schema = schema
        self._memory_bytes, self._seconds, self._share_work = memory_limit_bytes, time_limit_seconds, share_work
        self._statements: dict[str, str] = {}
        self._open()

    def _open(self) -> None:
        self._source = _Source(self._schema.empty_table())
        self._connection = duckdb.connect(":memory:", config={"threads": "1"})
        for option, value in self._options().items():
            self._connection.execute(f"SET {option} = '{value}'")
        self._connection.register(SOURCE, self._source)

    def _options(self) -> dict[str, str]:
        """In the order they must be set: the last two close the doors to the others."""
        return {
            "memory_limit": f"{self._memory_bytes}B",
            "max_execution_time": str(max(1, round(self._seconds * 1000))),
            "temp_directory": "",
            "TimeZone": "UTC",
            "python_enable_replacements": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "disabled_optimizers": "" if self._share_work else "common_subexpressions",
            "enable_external_access": "false",
            "lock_configuration": "true",
        }

    def prepare(self, name: str, sql: str) -> None:
        """Plan a query once under a name. Raises QueryError."""
        self._attempt(lambda: self._connection.execute(f"PREPARE {name} AS {sql}"))
        self._statements[name] = sql

    def run(self, name: str, table: pa.Table) -> pa.Table:
        """Execute what was prepared over a table of the source's schema. Raises DataError, LimitError."""
        with self._reading(table):
            return self._attempt(lambda: self._fetch(f"EXECUTE {name}"))

    def run_numbers(self, name: str, table: pa.Table) -> npt.NDArray[Any]:
        """As `run`, for a query of one column of numbers without NULL; at half the cost of a call."""
        with self._reading(table):
            columns = self._attempt(lambda: self._connection.execute(f"EXECUTE {name}").fetchnumpy())
        (numbers,) = columns.values()
        return np.asarray(numbers)

    @contextlib.contextmanager
    def _reading(self, table: pa.Table) -> Iterator[None]:
        self._source.table = table
        try:
            yield
        finally:
            self._source.table = self._schema.empty_table()

    def result_schema(self, name: str) -> pa.Schema:
        """The columns a prepared query gives."""
        return self.run(name, self._schema.empty_table()).schema

    def type_of(self, expression: str) -> str:
        """The engine's name for an expression's type, found without data. Raises QueryError."""
        described = self._attempt(lambda: self._fetch(f"DESCRIBE {select([expression])}"))
        return str(described.column("column_type")[0].as_py())

    def parse(self, sql: str) -> Node:
        """A text as the engine's syntax tree; `error` in it is true where it can't be read."""
        return self._tree("SELECT json_serialize_sql($1)", sql)

    def unparse(self, tree: Node) -> str:
        """The SQL of a syntax tree. Raises QueryError."""
        text = self._attempt(lambda: self._connection.execute("SELECT json_deserialize_sql($1)", [json.dumps(tree)]).fetchall())
        return str(text[0][0])

    def _tree(self, question: str, sql: str) -> Node:
        found = self._attempt(lambda: self._connection.execute(question, [sql]).fetchall())
        tree: Node = json.loads(found[0][0])
        return tree

    def _fetch(self, sql: str) -> pa.Table:
        return cast("pa.Table", self._connection.execute(sql).to_arrow_table(_ROWS_PER_CHUNK))

    def _attempt(self, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except duckdb.InterruptException as error:
            raise LimitError(f"took longer than {self._seconds:g} s") from error
        except (duckdb.OutOfMemoryException, MemoryError) as error:
            raise LimitError(f"needs more than {self._memory_bytes >> 20} MiB of memory") from error
        except (duckdb.InternalException, duckdb.FatalException) as error:
            self._reopen()
            raise LimitError(f"the SQL engine failed: {message_of(error)}") from error
        except duckdb.Error as error:
            raise DataError(message_of(error)) from error
        except UnicodeDecodeError as error:
            # The engine cuts the value that it quotes in a message, also in the middle of a character.
            quoted = bytes(error.object[:_MOST_LOOKED_AT]).decode(errors="backslashreplace")
            raise DataError(message_of(ValueError(quoted))) from error

    def _reopen(self) -> None:
        """After a fault of its own the engine answers nothing any more."""
        statements: Mapping[str, str] = dict(self._statements)
        self._connection.close()
        self._open()
        for name, sql in statements.items():
            self._connection.execute(f"PREPARE {name} AS {sql}")

    def close(self) -> None:
        """Give the memory back; nothing may be called afterwards."""
        self._connection.close()


def select(expressions: Sequence[str], where: str = "") -> str:
    """A query over the source; its parts have been written by `syntax.write` or are constants of ours."""
    condition = f" WHERE {where}" if where else ""
    return f"SELECT {', '.join(expressions)} FROM {SOURCE}{condition}"  # noqa: S608


def message_of(error: Exception) -> str:
    """The engine's sentence without its class, its advice and the SQL it was looking at.

    Of a long one its beginning: the engine quotes the whole value, which can be as large as an event.
    """
    text = str(error)[:_MOST_LOOKED_AT]
    sentence = _KIND.sub("", _HELP.sub("", _POINTER.sub(": ", text))).strip()
    return sentence if len(sentence) <= _MOST_LETTERS else f"{sentence[:_MOST_LETTERS]}…"
