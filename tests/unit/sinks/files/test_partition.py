"""Rows divided over Hive folders."""

import hypothesis
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from penstock.core import results
from penstock.sinks import port
from penstock.sinks.files import partition as files_partition

values = st.one_of(st.none(), st.sampled_from(["a", "b", "", "../up", "x/y", "é", "a=b", "."]))


@hypothesis.settings(max_examples=80)
@hypothesis.given(st.lists(st.tuples(values, values), max_size=30))
def test_every_row_is_in_its_folder_once_and_in_order(pairs):
    """Catches two values that share a folder, a row in two of them, and rows whose order changes."""
    rows = pa.table(
        {
            "n": pa.array(range(len(pairs)), pa.int64()),
            "x": pa.array([one for one, _ in pairs], pa.string()),
            "y": pa.array([two for _, two in pairs], pa.string()),
        }
    )
    parts = files_partition.divide(rows, ["x", "y"])
    assert len(parts) == len({part.segments for part in parts}) == len(set(pairs))
    for part in parts:
        numbers = part.rows.column("n").to_pylist()
        assert numbers == sorted(numbers) == part.indices.tolist()
        assert len({pairs[number] for number in numbers}) == 1
        assert part.rows.column_names == ["n"]
        assert all("/" not in segment for segment in part.segments)
    assert sorted(number for part in parts for number in part.indices.tolist()) == list(range(len(pairs)))


@pytest.mark.parametrize(
    ("column", "segment"),
    [
        (pa.array(["2026-01-01"]), "dt=2026-01-01"),
        (pa.array([None], pa.string()), "dt=__HIVE_DEFAULT_PARTITION__"),
        (pa.array(["a/b c"]), "dt=a%2Fb%20c"),
        (pa.array(["../.."]), "dt=..%2F.."),
        (pa.array([7]), "dt=7"),
        (pa.array([True]), "dt=true"),
        (pa.array(["x"]).dictionary_encode(), "dt=x"),
    ],
    ids=str,
)
def test_a_value_names_its_folder(column, segment):
    """Catches a value that leads out of the directory, and a name that readers don't decode to the value."""
    (part,) = files_partition.divide(pa.table({"dt": column, "n": [1]}), ["dt"])
    assert part.segments == (segment,)


def test_a_value_too_long_for_a_name_is_told_apart():
    """Catches an error of the file system for one row that fails the whole write."""
    parts = files_partition.divide(pa.table({"dt": ["x" * 300, "y"], "n": [1, 2]}), ["dt"])
    assert [part.nameable for part in parts] == [False, True]


@pytest.mark.parametrize(
    ("rows", "names", "code"),
    [
        ({"n": [1]}, ["dt"], "NO_PARTITION_COLUMN"),
        ({"dt": ["a"]}, ["dt"], "NO_COLUMNS"),
        ({"dt": [[1]], "n": [1]}, ["dt"], "PARTITION_TYPE"),
        ({"dt": [str(number) for number in range(300)], "n": list(range(300))}, ["dt"], "TOO_MANY_PARTITIONS"),
    ],
)
def test_what_can_not_be_divided_is_a_misconfiguration(rows, names, code):
    """Catches a key used as partition: one file per row."""
    with pytest.raises(port.SinkError) as caught:
        files_partition.divide(pa.table(rows), names)
    assert (caught.value.failure.code, caught.value.failure.result_class) == (code, results.ResultClass.CONFIG)


def test_without_partitions_there_is_one_part_and_without_rows_none():
    """Catches an empty file for a write of no rows."""
    rows = pa.table({"n": [1, 2]})
    assert [part.segments for part in files_partition.divide(rows, [])] == [()]
    assert files_partition.divide(rows.slice(0, 0), []) == []
