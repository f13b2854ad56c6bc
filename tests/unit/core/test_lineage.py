"""The ids one log has had: what each of them speaks of."""

from __future__ import annotations

from penstock.core import lineage


def test_an_id_speaks_of_this_log_up_to_where_it_ended_and_of_no_other():
    """Catches a letter of events that were lost with the log's end taken for one of what stands there now."""
    log = lineage.Lineage(log_id="now", former=[lineage.Former(log_id="old", ends=[3])])
    assert [log.holds("old", 0, 2), log.holds("old", 0, 3), log.holds("old", 1, 0)] == [True, False, False]
    assert (log.holds("now", 5, 99), log.holds("other", 0, 0)) == (True, False)
    assert sorted(["now", "old", "other"], key=log.age) == ["other", "old", "now"]
