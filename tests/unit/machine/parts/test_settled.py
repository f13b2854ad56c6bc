"""What a process is told over what it has read."""

from __future__ import annotations

import pytest

from penstock.api import live, load
from penstock.machine.parts import settled

_FILE = """
apiVersion: penstock.dev/v1alpha1
kind: BatchPipeline
metadata: {name: clicks}
spec: {sinks: [{name: a, type: DuckDB, duckDB: {path: a, table: a}}, {name: b, type: DuckDB, duckDB: {path: b, table: b}}]}
"""


def _told(rows: int, generation: int) -> settled.Told:
    text = f'{{"batching":{{"static":{{"rows":{rows}}}}}}}'
    return settled.Told(settings=text, version=f"v{generation}", generation=generation)


def test_what_an_older_object_says_is_ignored() -> None:
    """Catches an operator that lost its turn and still tells."""
    made = settled.Settled(load.load_one(_FILE))
    assert made.version("a") == live.version(made.sink("a"))
    assert [made.take("a", _told(7, 4)), made.take("a", _told(3, 3)), made.take("a", _told(7, 4))] == [True, False, False]
    assert (made.sink("a").batching.static.rows, made.version("a")) == (7, "v4")
    assert made.take("a", _told(9, 5))
    assert (made.sink("b").batching.static.rows, made.version("b")) == (None, live.version(made.sink("b")))


def test_a_sink_that_is_not_there_and_settings_of_no_use_change_nothing() -> None:
    """Catches a generation that counts although its settings were refused."""
    made = settled.Settled(load.load_one(_FILE))
    with pytest.raises(KeyError, match='no sink "c"'):
        made.take("c", _told(1, 1))
    with pytest.raises(ValueError, match="static"):
        made.take("a", _told(-1, 9))
    assert made.take("a", _told(7, 1))
