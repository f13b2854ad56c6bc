"""Hostile events: each comes between two good neighbours, by every door that takes JSON."""

from __future__ import annotations

from tests.hostile import entry


def _with(member: bytes) -> bytes:
    return b'{"id":"hostile",' + member + b"}"


def _nest(depth: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * depth + closing * depth


def _event(name: str, text: bytes) -> entry.Event:
    return entry.Event(name=name, make=lambda: text)


_SMALL = {
    "NaN": _with(b'"d":NaN'),
    "Infinity": _with(b'"d":Infinity'),
    "-Infinity where nobody looks": _with(b'"zz":-Infinity'),
    "1e400": _with(b'"d":1e400'),
    "-1e400 in an integer": _with(b'"n":-1e400'),
    "an integer beyond 64 bits": _with(b'"n":9223372036854775808'),
    "an integer written 1.0": _with(b'"n":1.0'),
    "a fraction in an integer": _with(b'"n":1.5'),
    "a decimal with too many digits": _with(b'"m":123456789.5'),
    "a decimal with too many places": _with(b'"m":1.2345'),
    "the 30th of February": _with(b'"day":"2026-02-30"'),
    "the year 0": _with(b'"day":"0000-01-01"'),
    "the year 10000": _with(b'"ts":"10000-01-01T00:00:00Z"'),
    "a time without a zone": _with(b'"ts":"2026-01-01T00:00:00"'),
    "a leap second": _with(b'"ts":"2026-06-30T23:59:60Z"'),
    "a time carried out of range by its zone": _with(b'"ts":"0001-01-01T00:00:00+01:00"'),
    "high half of a surrogate pair": _with(b'"s":"\\ud800"'),
    "low half of a surrogate pair": _with(b'"s":"\\udc00"'),
    "surrogates in the wrong order": _with(b'"s":"\\udc00\\ud800"'),
    "half a pair in a key": _with(b'"\\ud800":1'),
    "a surrogate in raw bytes": _with(b'"s":"\xed\xa0\x80"'),
    "invalid UTF-8": _with(b'"s":"\xff"'),
    "overlong UTF-8": _with(b'"s":"\xc0\xaf"'),
    "invalid UTF-8 in a key": _with(b'"\xff":1'),
    "one key twice": b'{"id":"hostile","id":"other"}',
    "one key twice, once escaped": b'{"id":"hostile","\\u0069d":"other"}',
    "a JSON field twice": _with(b'"j":1,"j":2'),
    "an unknown key twice": _with(b'"zz":1,"zz":2'),
    "a byte order mark": b'\xef\xbb\xbf{"id":"hostile"}',
    "a UTF-16 event": '{"id":"hostile"}'.encode("utf-16-le"),
    "two objects on a line": b'{"id":"hostile"}{"id":"other"}',
    "two objects and a comma": b'{"id":"hostile"},{"id":"other"}',
    "a list": b'[{"id":"hostile"}]',
    "a number": b"7",
    "null": b"null",
    "text": b'"hostile"',
    "an empty object": b"{}",
    "a comment": b'{"id":"hostile"/* */}',
    "a trailing comma": b'{"id":"hostile",}',
    "single quotes": b"{'id':'hostile'}",
    "not closed": b'{"id":"hostile"',
    "closed twice": b'{"id":"hostile"}}',
    "a NUL after it": b'{"id":"hostile"}\0',
    "a NUL in text": _with(b'"s":"\0"'),
    "an escaped NUL in text": _with(b'"s":"\\u0000"'),
    "a raw tab in text": _with(b'"s":"\t"'),
    "an unknown escape": _with(b'"s":"\\x41"'),
    "a number with a leading zero": _with(b'"n":01'),
    "a number with a plus": _with(b'"n":+1'),
    "a number in hexadecimal": _with(b'"n":0x10'),
    "a number without digits": _with(b'"d":1e'),
    "true in capitals": _with(b'"zz":TRUE'),
    "a table's name that climbs": _with(b'"kind":"../../etc/passwd"'),
    "a table's name that drops": _with(b'"kind":"eu\\"; DROP TABLE events_eu; --"'),
    "a table's name with a NUL": _with(b'"kind":"eu\\u0000"'),
    "a table's name of 300 characters": _with(b'"kind":"' + b"x" * 300 + b'"'),
    "a table's name in look-alikes": _with('"kind":"\u0435u"'.encode()),
    "a table's name in full width": _with('"kind":"\uff45\uff55"'.encode()),
    "a table's name with a brace": _with(b'"kind":"{kind}"'),
    "a table's name in other case": _with(b'"kind":"EU"'),
    "an empty table's name": _with(b'"kind":""'),
}
_LARGE = {
    "a string of 10 MiB": lambda: _with(b'"s":"' + b"x" * 10 * entry.MIB + b'"'),
    "an event of just the limit": lambda: b'{"id":"hostile","s":"' + b"x" * (entry.MIB - 23) + b'"}',
    "an event of one byte more": lambda: b'{"id":"hostile","s":"' + b"x" * (entry.MIB - 22) + b'"}',
    "a key of 900 KiB": lambda: _with(b'"' + b"k" * 900 * entry.KIB + b'":1'),
    "a key of 1 MiB": lambda: _with(b'"' + b"k" * entry.MIB + b'":1'),
    "100,000 keys nobody declared": lambda: _with(b",".join(b'"k%d":1' % n for n in range(100_000))),
    "lists 5,000 deep where nobody looks": lambda: _with(b'"zz":' + _nest(5_000)),
    "lists 5,000 deep in a JSON field": lambda: _with(b'"j":' + _nest(5_000)),
    "lists 100,000 deep": lambda: _with(b'"j":' + _nest(100_000)),
    "objects 5,000 deep": lambda: _with(b'"zz":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000),
    "lists 5,000 deep, not closed": lambda: _with(b'"zz":' + b"[" * 5_000),
    "lists 5,000 deep in a number": lambda: _with(b'"n":' + _nest(5_000)),
    "a number of 100,000 digits": lambda: _with(b'"d":' + b"9" * 100_000),
    "an integer of 100,000 digits": lambda: _with(b'"n":' + b"9" * 100_000),
    "a decimal of 100,000 digits": lambda: _with(b'"m":0.' + b"1" * 100_000),
    "an unknown number of 100,000 digits": lambda: _with(b'"zz":' + b"9" * 100_000),
    "an exponent of 100,000 digits": lambda: _with(b'"d":1e' + b"9" * 100_000),
    "a list of as many items as fit": lambda: _with(b'"l":[' + b"1," * 500_000 + b"1]"),
    "a list of a million wrong items": lambda: _with(b'"l":[' + b"t," * 500_000 + b"1]"),
    "500,000 backslashes": lambda: _with(b'"s":"' + b"\\\\" * 250_000 + b'"'),
    "500,000 quotes": lambda: _with(b'"s":"' + b'"' * 500_000 + b'"'),
}
EVENTS = (*(_event(name, text) for name, text in _SMALL.items()), *(entry.Event(name=n, make=m) for n, m in _LARGE.items()))
