"""Which SQL functions and types a transform may use, and what to write instead of those it may not.

An allow-list: what is not named here does not run, whatever a later engine brings. Everything allowed depends on its
arguments alone, because a retry must make the same rows, and stays in proportion to its input: the engine's memory limit
does not see the text a function builds, so those that multiply their input take a bounded constant.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Final


def _words(text: str) -> list[str]:
    return text.split()


MOST_REPEATS: Final = 10_000
"""The largest count, width or range that a function which multiplies its input may be given."""

OPERATORS: Final = frozenset(
    _words(
        "+ - * / // % ** ^ & | ~ << >> || @ ^@ ->> ~~ !~~ ~~* !~~* ~~~ like_escape ilike_escape not_like_escape not_ilike_escape"
    )
)

TEXT: Final = frozenset(
    _words("""
    ascii bit_length char_length character_length chr concat concat_ws contains decode encode ends_with format from_base64
    from_hex hex instr lcase left left_grapheme len length length_grapheme lower lpad ltrim md5 nfc_normalize octet_length
    ord overlay parse_dirname parse_dirpath parse_filename parse_path position prefix printf regexp_escape regexp_extract
    regexp_extract_all regexp_full_match regexp_matches regexp_replace regexp_split_to_array repeat replace reverse right
    right_grapheme rpad rtrim sha1 sha256 split split_part starts_with str_split str_split_regex string_split
    string_split_regex string_to_array strip_accents strlen strpos substr substring substring_grapheme suffix to_base64
    to_hex translate trim ucase unhex unicode upper url_decode url_encode base64 to_binary from_binary bin unbin
    """)
)
NUMBERS: Final = frozenset(
    _words("""
    abs acos acosh add asin asinh atan atan2 atanh bit_count cbrt ceil ceiling cos cosh cot degrees divide even exp
    factorial fdiv floor fmod gcd greatest greatest_common_divisor isfinite isinf isnan lcm least least_common_multiple ln
    log log10 log2 mod multiply nextafter pi pow power radians round round_even roundbankers sign signbit sin sinh sqrt
    subtract tan tanh to_base trunc xor
    """)
)
TIMES: Final = frozenset(
    _words("""
    age century date_add date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day dayname dayofmonth
    dayofweek dayofyear days_in_month decade epoch epoch_ms epoch_ns epoch_us era hour isodow isoyear julian last_day
    make_date make_time make_timestamp make_timestamp_ms make_timestamp_ns make_timestamptz microsecond millennium
    millisecond minute month monthname nanosecond quarter second strftime strptime time_bucket timezone to_centuries to_days
    to_decades to_hours to_microseconds to_millennia to_milliseconds to_minutes to_months to_quarters to_seconds
    to_timestamp to_weeks to_years try_strptime week weekday weekofyear year yearweek
    """)
)
LISTS: Final = frozenset(
    _words("""
    apply array_append array_apply array_cat array_concat array_contains array_extract array_filter array_has array_has_all
    array_has_any array_indexof array_length array_position array_pop_back array_pop_front array_prepend array_push_back
    array_push_front array_reduce array_reverse array_reverse_sort array_select array_slice array_sort array_to_string
    array_transform array_where array_zip cardinality element_at filter flatten generate_series grade_up list_any_value
    list_append list_apply list_avg list_bool_and list_bool_or list_cat list_concat list_contains list_count list_element
    list_extract list_filter list_first list_grade_up list_has list_has_all list_has_any list_indexof list_last list_max
    list_median list_min list_position list_prepend list_product list_reduce list_reverse list_reverse_sort list_select
    list_slice list_sort list_string_agg list_sum list_transform list_unique list_value list_where list_zip map map_concat
    map_contains map_entries map_extract map_extract_value map_from_entries map_keys map_values range reduce row
    struct_concat struct_extract struct_insert struct_keys struct_pack struct_values array_unique
    """)
)
JSON: Final = frozenset(
    _words("""
    from_json json json_array json_array_length json_contains json_exists json_extract json_extract_path
    json_extract_path_text json_extract_string json_keys json_merge_patch json_object json_quote json_structure
    json_transform json_type json_valid json_value to_json array_to_json row_to_json
    """)
)
CHOICES: Final = frozenset(_words("constant_or_null if nullif typeof"))

ALLOWED: Final = OPERATORS | TEXT | NUMBERS | TIMES | LISTS | JSON | CHOICES

TYPES: Final = frozenset(
    _words("""
    BIGINT BINARY BLOB BOOL BOOLEAN BPCHAR BYTEA CHAR DATE DATETIME DEC DECIMAL DOUBLE FLOAT FLOAT4 FLOAT8 HUGEINT INT INT1
    INT16 INT2 INT32 INT4 INT64 INT8 INTEGER INTERVAL JSON LIST LOGICAL LONG MAP NUMERIC REAL SHORT SIGNED SMALLINT STRING
    STRUCT TEXT TIME TIMESTAMP TIMESTAMPTZ TIMESTAMP_MS TIMESTAMP_NS TIMESTAMP_S TIMESTAMP_US TINYINT UBIGINT UINT16 UINT32
    UINT64 UINT8 UINTEGER USMALLINT UTINYINT UUID VARBINARY VARCHAR
    """)
) | {"TIMESTAMP WITH TIME ZONE", "DOUBLE PRECISION"}

_WHEN = "it gives another result on each try; use received_at, the time the event was accepted"
_WHICH = "it gives another result on each try; use fields that tell events apart, or md5 of them"
_WHO = "it depends on the process that runs it, not on the event; write a literal instead"
_MANY = "it needs many rows, and a transform sees one at a time; over a list there are list_sum, list_max, list_avg …"

REFUSED: Final[Mapping[str, str]] = types.MappingProxyType(
    dict.fromkeys(
        _words("""
    now today current_date current_time current_timestamp localtime localtimestamp transaction_timestamp get_current_time
    get_current_timestamp current_localtime current_localtimestamp ago
    """),
        _WHEN,
    )
    | dict.fromkeys(
        _words("""
    random uuid uuidv4 uuidv7 gen_random_uuid nextval currval setseed setval txid_current current_query_id
    current_transaction_id current_connection_id reservoir_quantile
    """),
        _WHICH,
    )
    | dict.fromkeys(
        _words("""
    current_setting getvariable getenv current_user session_user user current_role current_catalog current_database
    current_schema current_schemas current_query version read_text read_blob read_csv read_json read_parquet glob
    in_search_path get_block_size
    """),
        _WHO,
    )
    | dict.fromkeys(
        _words("""
    any_value approx_count_distinct array_agg avg bool_and bool_or count count_star first group_concat last list max median
    min mode product quantile stddev string_agg sum variance histogram arg_max arg_min
    """),
        _MANY,
    )
    | dict.fromkeys(
        ("list_distinct", "array_distinct", "list_intersect", "list_aggregate", "list_aggr"),
        "its order is not defined; list_unique counts distinct items, list_sort and list_filter keep an order",
    )
    | {
        "unnest": "rows are made by spec.transform.explode",
        "hash": "its result may change with the engine's version; use md5 or sha256",
        "error": "to refuse events, filter them or make the field required",
        "try": "use TRY_CAST or try_strptime",
        "exists": "a transform has no tables; over a list use len(list_filter(…)) > 0",
    }
)
"""What is refused by name, and the reason with the way out."""

LAMBDA_TAKERS: Final = frozenset(
    _words("""
    apply array_apply array_filter array_reduce array_transform filter list_apply list_filter list_reduce list_transform
    reduce
    """)
)


@dataclasses.dataclass(frozen=True, slots=True)
class Growth:
    """The argument, counted from 0, that says how large the result gets; None: all of them do."""

    argument: int | None


GROWING: Final[Mapping[str, Growth]] = types.MappingProxyType(
    {
        "repeat": Growth(1),
        "lpad": Growth(1),
        "rpad": Growth(1),
        "range": Growth(None),
        "generate_series": Growth(None),
    }
)

FORMATTING: Final = frozenset({"format", "printf"})
"""Their first argument holds widths, which must be readable here."""

MATCHING: Final = frozenset(
    _words("""
    regexp_extract regexp_extract_all regexp_full_match regexp_matches regexp_replace regexp_split_to_array str_split_regex
    string_split_regex ~
    """)
)
"""Their second argument is a regular expression: nothing interrupts the engine within one row, and a pattern as long as the
text it is held against takes minutes, so patterns stand in the pipeline, not in events."""
MOST_PATTERN: Final = 1_000
PATTERN_REMEDY: Final = "write the pattern as text; for text of an event use contains, starts_with, = or split_part"
