"""ClickHouse's HTTP interface over the engine in this process: what a sink and a test need of it, and no more.

Queries come as `query=` or as the body, data after an INSERT as the body (`Content-Encoding` zstd or gzip), settings as
parameters. Answers carry the engine's own error codes and texts. Queries run one after the other: the engine has one session.
Not like the server: no compression of answers, no `session_id`, one user.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import hmac
import http.server
import pathlib
import re
import tempfile
import threading
import urllib.parse
import uuid
from collections.abc import Mapping
from typing import ClassVar

import pyarrow as pa
from chdb import session

_INSERT = re.compile(r"\s*(INSERT\s+INTO\s+.+?)\s+(SETTINGS\s+.+?\s+)?FORMAT\s+(\w+)[ \t;]*(?:\n|$)", re.IGNORECASE | re.DOTALL)
_READS = re.compile(r"\s*(SELECT|WITH)\b", re.IGNORECASE)
_CODE = re.compile(r"Code: (\d+)")
_NO_SETTINGS = frozenset(
    {"query", "database", "user", "password", "default_format", "query_id", "compress", "decompress", "wait_end_of_query"}
)
# How the server maps codes to statuses (HTTPHandler's exceptionCodeToHTTPStatus); what is in no row is a 500.
_STATUS_OF_CODES = {
    400: (6, 20, 26, 27, 36, 38, 41, 43, 44, 53, 62, 69, 70, 72, 130, 131, 321, 427, 611),
    403: (192, 193, 291, 516),
    404: (46, 47, 48, 50, 56, 60, 73, 78, 81, 115),
    408: (159,),
    413: (210,),
    501: (1,),
    503: (76, 209),
}
_STATUSES = {code: status for status, codes in _STATUS_OF_CODES.items() for code in codes}


class QueryError(Exception):
    """The engine's text; `code` is its number."""

    @property
    def code(self) -> int:
        found = _CODE.search(str(self))
        return int(found[1]) if found else 1002


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The one session on `data`, used by one thread at a time."""

    session: session.Session
    lock: threading.Lock
    password: str

    def run(self, sql: str, database: str, output: str) -> bytes:
        with self.lock:
            try:
                self.session.query(f"USE {_quoted(database)}")
                return bytes(self.session.query(sql, output).bytes() or b"")
            except Exception as error:
                raise QueryError(str(error)) from None


class Front(http.server.BaseHTTPRequestHandler):
    """One request. Its `engine` is put there by `main`."""

    engine: ClassVar[Engine]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if urllib.parse.urlsplit(self.path).path == "/ping":
            self._answer(200, b"Ok.\n", {})
        else:
            self._query(b"")

    def do_POST(self) -> None:
        self._query(self._body())

    def _query(self, body: bytes) -> None:
        parameters = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query, keep_blank_values=True))
        headers = {"X-ClickHouse-Query-Id": parameters.get("query_id") or str(uuid.uuid4())}
        try:
            self._authenticate(parameters)
            content = self._run(parameters, _uncompressed(body, self.headers.get("Content-Encoding", "")))
            self._answer(200, content, headers)
        except QueryError as error:
            headers["X-ClickHouse-Exception-Code"] = str(error.code)
            self._answer(_STATUSES.get(error.code, 500), f"{error} (version 26.9.2.1)\n".encode(), headers)

    def _run(self, parameters: Mapping[str, str], body: bytes) -> bytes:
        query, data = _split(parameters.get("query", ""), body)
        database = parameters.get("database") or self.headers.get("X-ClickHouse-Database") or "default"
        output = parameters.get("default_format") or self.headers.get("X-ClickHouse-Format") or "TabSeparated"
        settings = {name: value for name, value in parameters.items() if name not in _NO_SETTINGS}
        insert = _INSERT.match(query)
        if not insert:
            return self.engine.run(_with_settings(query, settings), database, output)
        into, own, layout = insert.groups()
        data = data or query[insert.end() :].encode()
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            assigned = ", ".join(f"{name} = {_text(value)}" for name, value in settings.items())
            own = (own or "").strip()
            clause = f"{own}, {assigned}" if own and assigned else own or (assigned and f"SETTINGS {assigned}")
            return self.engine.run(f"{into} FROM INFILE {_text(file.name)} {clause} FORMAT {layout}", database, output)

    def _authenticate(self, parameters: Mapping[str, str]) -> None:
        user, password = self.headers.get("X-ClickHouse-User", ""), self.headers.get("X-ClickHouse-Key", "")
        basic = self.headers.get("Authorization", "")
        if basic.startswith("Basic "):
            user, _, password = base64.b64decode(basic[6:]).decode().partition(":")
        user, password = parameters.get("user", user) or "default", parameters.get("password", password)
        if user != "default" or not hmac.compare_digest(password.encode(), self.engine.password.encode()):
            raise QueryError(
                f"Code: 516. DB::Exception: {user}: Authentication failed: password is incorrect, or there is no user with"
                " such name. (AUTHENTICATION_FAILED)"
            )

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "text/plain; charset=UTF-8", "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _split(query: str, body: bytes) -> tuple[str, bytes]:
    """The statement and the data after it; without `query` the body begins with the statement."""
    if query.strip():
        return query, body
    head = _INSERT.match(body.decode("utf-8", "surrogateescape"))
    if not head:
        return body.decode(), b""
    statement = head[0].encode("utf-8", "surrogateescape")
    return statement.decode(), body[len(statement) :]


def _with_settings(query: str, settings: Mapping[str, str]) -> str:
    if not settings or not _READS.match(query):
        return query
    assigned = ", ".join(f"{name} = {_text(value)}" for name, value in settings.items())
    return f"SELECT * FROM ({query.rstrip().rstrip(';')}) SETTINGS {assigned}"


def _uncompressed(body: bytes, encoding: str) -> bytes:
    if not encoding or not body:
        return body
    try:
        with pa.input_stream(pa.BufferReader(body), compression=encoding) as stream:
            return bytes(stream.read())
    except (pa.ArrowException, OSError, ValueError) as error:
        raise QueryError(f"Code: 432. DB::Exception: Content-Encoding {encoding}: {error} (UNKNOWN_COMPRESSION_METHOD)") from None


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--password", default="")
    arguments = parser.parse_args()
    Front.engine = Engine(session=session.Session(str(arguments.data)), lock=threading.Lock(), password=arguments.password)
    Front.engine.run("SELECT 1", "default", "Null")
    http.server.ThreadingHTTPServer(("127.0.0.1", arguments.port), Front).serve_forever()


if __name__ == "__main__":
    main()
