"""The table in which a DuckDB database remembers what has landed."""

import duckdb
import hypothesis
from hypothesis import strategies as st
from tests.unit.sinks import writes

from penstock.core import addresses
from penstock.sinks.duckdb import journal as duckdb_journal

stretches = st.lists(
    st.builds(
        lambda start, length, partition: writes.span(start, start + length, partition=partition),
        st.integers(0, 12),
        st.integers(1, 4),
        st.integers(0, 1),
    ),
    max_size=6,
).map(addresses.merge)


@hypothesis.settings(max_examples=40)
@hypothesis.given(st.lists(stretches, min_size=1, max_size=5))
def test_the_table_says_what_it_was_last_told_and_no_more(steps):
    """Catches a stretch that stays, is lost, or changes the row of another partition, table or lane."""
    with duckdb.connect() as connection:
        duckdb_journal.load(connection)
        duckdb_journal.replace(connection, "lane", "other", [], [writes.span(0, 1)])
        duckdb_journal.replace(connection, "other", "table", [], [writes.span(0, 2)])
        known = []
        for ranges in steps:
            duckdb_journal.replace(connection, "lane", "table", known, ranges)
            known = ranges
            rows = connection.execute("SELECT count(*) FROM _penstock_landed").fetchall()
            assert rows == [(len(ranges) + 2,)]
        landed = duckdb_journal.load(connection)
        assert list(landed.of("lane", "table")) == known
        assert list(landed.of("lane", "other")) == [writes.span(0, 1)]
        assert list(landed.of("other", "table")) == [writes.span(0, 2)]
