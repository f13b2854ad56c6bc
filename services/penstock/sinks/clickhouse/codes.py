"""Whose fault an error of ClickHouse's is: one table from its codes to result classes.

Pure. Codes and names are those of the server (`errorCodeToName`); a code that isn't here is unclassified, which loses
nothing: such a write is tried again and in the end looked through row by row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from penstock.core import results

_DATA, _CONFIG = results.ResultClass.DATA, results.ResultClass.CONFIG
_OUTAGE, _PRESSURE = results.ResultClass.OUTAGE, results.ResultClass.PRESSURE

NAMES: Mapping[results.ResultClass, Mapping[int, str]] = {
    # A value that the column can't hold, or that a constraint or a materialized view refuses.
    _DATA: {
        6: "CANNOT_PARSE_TEXT",
        25: "CANNOT_PARSE_ESCAPE_SEQUENCE",
        26: "CANNOT_PARSE_QUOTED_STRING",
        27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
        38: "CANNOT_PARSE_DATE",
        41: "CANNOT_PARSE_DATETIME",
        69: "ARGUMENT_OUT_OF_BOUND",
        70: "CANNOT_CONVERT_TYPE",
        72: "CANNOT_PARSE_NUMBER",
        117: "INCORRECT_DATA",
        130: "CANNOT_READ_ARRAY_FROM_TEXT",
        131: "TOO_LARGE_STRING_SIZE",
        153: "ILLEGAL_DIVISION",
        190: "SIZES_OF_ARRAYS_DONT_MATCH",
        321: "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
        349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
        376: "CANNOT_PARSE_UUID",
        395: "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO",
        407: "DECIMAL_OVERFLOW",
        467: "CANNOT_PARSE_BOOL",
        469: "VIOLATED_CONSTRAINT",
        675: "CANNOT_PARSE_IPV4",
        676: "CANNOT_PARSE_IPV6",
        691: "UNKNOWN_ELEMENT_OF_ENUM",
    },
    # The same for every row, until a person changes the table, the grants or the pipeline.
    _CONFIG: {
        8: "THERE_IS_NO_COLUMN",
        10: "NOT_FOUND_COLUMN_IN_BLOCK",
        16: "NO_SUCH_COLUMN_IN_TABLE",
        20: "NUMBER_OF_COLUMNS_DOESNT_MATCH",
        36: "BAD_ARGUMENTS",
        43: "ILLEGAL_TYPE_OF_ARGUMENT",
        44: "ILLEGAL_COLUMN",
        46: "UNKNOWN_FUNCTION",
        47: "UNKNOWN_IDENTIFIER",
        48: "NOT_IMPLEMENTED",
        50: "UNKNOWN_TYPE",
        53: "TYPE_MISMATCH",
        60: "UNKNOWN_TABLE",
        62: "SYNTAX_ERROR",
        73: "UNKNOWN_FORMAT",
        80: "INCORRECT_QUERY",
        81: "UNKNOWN_DATABASE",
        115: "UNKNOWN_SETTING",
        164: "READONLY",
        201: "QUOTA_EXCEEDED",
        291: "DATABASE_ACCESS_DENIED",
        344: "SUPPORT_IS_DISABLED",
        392: "QUERY_IS_PROHIBITED",
        432: "UNKNOWN_CODEC",
        452: "SETTING_CONSTRAINT_VIOLATION",
        497: "ACCESS_DENIED",
    },
    # The server, its disks, its Keeper or the way there; credentials are here because they are renewed without us.
    _OUTAGE: {
        74: "CANNOT_READ_FROM_FILE_DESCRIPTOR",
        75: "CANNOT_WRITE_TO_FILE_DESCRIPTOR",
        76: "CANNOT_OPEN_FILE",
        159: "TIMEOUT_EXCEEDED",
        192: "UNKNOWN_USER",
        193: "WRONG_PASSWORD",
        194: "REQUIRED_PASSWORD",
        195: "IP_ADDRESS_NOT_ALLOWED",
        198: "DNS_ERROR",
        203: "NO_FREE_CONNECTION",
        209: "SOCKET_TIMEOUT",
        210: "NETWORK_ERROR",
        218: "TABLE_IS_DROPPED",
        225: "NO_ZOOKEEPER",
        236: "ABORTED",
        242: "TABLE_IS_READ_ONLY",
        243: "NOT_ENOUGH_SPACE",
        244: "UNEXPECTED_ZOOKEEPER_ERROR",
        279: "ALL_CONNECTION_TRIES_FAILED",
        285: "TOO_FEW_LIVE_REPLICAS",
        286: "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE",
        289: "REPLICA_IS_NOT_IN_QUORUM",
        319: "UNKNOWN_STATUS_OF_INSERT",
        394: "QUERY_WAS_CANCELLED",
        425: "SYSTEM_ERROR",
        473: "DEADLOCK_AVOIDED",
        499: "S3_ERROR",
        516: "AUTHENTICATION_FAILED",
        999: "KEEPER_EXCEPTION",
        1000: "POCO_EXCEPTION",
    },
    # The server has more to do than it can: fewer and larger batches, later.
    _PRESSURE: {
        202: "TOO_MANY_SIMULTANEOUS_QUERIES",
        241: "MEMORY_LIMIT_EXCEEDED",
        252: "TOO_MANY_PARTS",
        439: "CANNOT_SCHEDULE_TASK",
        745: "SERVER_OVERLOADED",
    },
}

_KNOWN = {code: (kind, name) for kind, codes in NAMES.items() for code, name in codes.items()}
_CREDENTIALS = frozenset({192, 193, 194, 516})

# 252 has two meanings, and only one of them goes away by waiting.
_TOO_MANY_PARTITIONS = "Too many partitions for single INSERT block"

_CODE = re.compile(r"Code: (\d+)\b")
# What follows tells values of the row, which may say anything: the first match is the server's own.
_VIOLATED = re.compile(r"for table (\S+?)(?: \([0-9a-f-]+\))? is violated at row (\d+)\. Expression: ")

_REMEDIES: Mapping[int, str] = {
    16: "add the column, drop it from select, or set tablePolicy: AddColumns",
    60: "create the table, or set tablePolicy: CreateIfMissing",
    81: "create the database, or mend clickHouse.database",
    164: "let the user change settings of its own queries: readonly = 0 in its profile",
    201: "raise the user's quota",
    497: "grant what the message names to the user",
    516: "renew the secret that clickHouse.authentication names; landing then goes on by itself",
}


def code_of(header: str, text: str) -> int:
    """The number in the header `X-ClickHouse-Exception-Code`, else in the text; 0 where there is none."""
    if header.isascii() and header.isdigit():
        return int(header[:9])
    found = _CODE.search(text)
    return int(found[1][:9]) if found else 0


def violating_row(told: results.Failure, table: str) -> int | None:
    """The index of the first row that a constraint of `table` ("`db`.`table`") refuses; None where the message does not name
    one, or speaks of another table, such as one that a view writes to."""
    if told.code != "VIOLATED_CONSTRAINT" or (found := _VIOLATED.search(told.message)) is None:
        return None
    return int(found[2]) - 1 if found[1].replace("`", "") == table.replace("`", "") else None


def failure(code: int, message: str) -> results.Failure:
    """What an error of the server's means. `message` is shown to people."""
    kind, name = _KNOWN.get(code, (results.ResultClass.UNCLASSIFIED, f"CODE_{code}"))
    remedy = _REMEDIES.get(code, "")
    if code == 252 and _TOO_MANY_PARTITIONS in message:
        kind, name = _CONFIG, "TOO_MANY_PARTITIONS"
        remedy = (
            "a batch reaches too many partitions: partition the table more coarsely, or raise max_partitions_per_insert_block"
        )
    if code in _CREDENTIALS:
        name, remedy = "CREDENTIALS_REJECTED", _REMEDIES[516]
    return results.Failure(result_class=kind, code=name, message=message, remedy=remedy)


def failure_of_status(status: int, message: str) -> results.Failure:
    """What an answer without a code means: something between us and the server has spoken."""
    if status in (401, 403, 407):
        return results.Failure(result_class=_OUTAGE, code="CREDENTIALS_REJECTED", message=message, remedy=_REMEDIES[516])
    if status in (404, 405) or 300 <= status < 400:
        remedy = "set clickHouse.url to the server's HTTP interface, usually port 8123 or 8443"
        return results.Failure(result_class=_CONFIG, code=f"HTTP_{status}", message=message, remedy=remedy)
    known = status >= 500 or status in (408, 429)
    kind = _OUTAGE if known else results.ResultClass.UNCLASSIFIED
    return results.Failure(result_class=kind, code=f"HTTP_{status}", message=message)
