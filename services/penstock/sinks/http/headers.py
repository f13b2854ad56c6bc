"""The headers of a request, read anew for each write: a secret that was renewed is used without a restart."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from penstock.sinks import port, tables

# What frames the request belongs to the client; a wrong length would make two requests of one.
_FRAMING = frozenset({"connection", "content-length", "expect", "te", "trailer", "transfer-encoding", "upgrade"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """One header; `read` gives its value at this moment and may raise SinkError. Secret values are never shown."""

    name: str
    read: Callable[[], str]
    secret: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The headers of one write, and the values among them that no message may hold."""

    fields: Mapping[str, str]
    secrets: Sequence[str]

    def having(self, name: str, value: str) -> Prepared:
        """The same with this one header, whatever it was before and however its name was spelt."""
        others = {known: held for known, held in self.fields.items() if known.lower() != name.lower()}
        return dataclasses.replace(self, fields={**others, name: value})


def prepare(headers: Sequence[Header], *, content_type: str) -> Prepared:
    """Raises SinkError (config) for a header that can't be sent; the message never holds its value."""
    own = {"User-Agent": "penstock", "Accept": "*/*", "Accept-Encoding": "identity", "Content-Type": content_type}
    prepared = Prepared(fields=own, secrets=())
    for header in headers:
        if header.name.lower() in _FRAMING:
            raise _unsendable(header.name, "is set by the client itself", "remove it from http.headers")
        value = header.read()
        if not value.isprintable():
            raise _unsendable(
                header.name, "has a line break or another control character in its value", "take it out of the value"
            )
        prepared = prepared.having(header.name, value)
        if header.secret:
            prepared = dataclasses.replace(prepared, secrets=(*prepared.secrets, value))
    return prepared


def _unsendable(name: str, why: str, remedy: str) -> port.SinkError:
    return tables.misconfigured("HEADER", f"header {name} {why}", remedy)
