"""Messages of `penstock.v1.Sink` mean the same at both ends."""

import hypothesis
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from penstock.core import addresses, delivery, results
from penstock.v1 import sink_pb2
from penstock.wire import sink as wire

positions = st.builds(addresses.Position, st.integers(0, 2**62), st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))


@st.composite
def ranges(draw):
    start, end = sorted(draw(st.lists(positions, min_size=2, max_size=2, unique=True)))
    return addresses.Range(draw(st.text(min_size=1)), draw(st.integers(0, 2**31 - 1)), start, end)


watermarks = st.builds(delivery.Watermark, log_id=st.text(), partition=st.integers(0, 2**31 - 1), position=positions)
rejections = st.builds(
    results.RejectedRow,
    row=st.integers(0, 2**32 - 1),
    result_class=st.sampled_from(results.ResultClass),
    code=st.text(),
    message=st.text(),
)


stretches = st.tuples(st.integers(0, 2**31), st.integers(1, 2**31 - 1)).map(
    lambda told: delivery.Stretch(told[0], told[0] + told[1])
)


def several(values):
    return st.lists(values, max_size=5).map(tuple)


@hypothesis.settings(max_examples=50)
@hypothesis.given(several(ranges()), several(watermarks), several(st.text()), st.text())
def test_a_header_keeps_everything_but_the_rows(found, marks, keys, text):
    """Catches a field that is forgotten, or read from its neighbour, in either direction."""
    rows = pa.table({"a": [1, 2]})
    batch = delivery.SinkBatch(
        lane=text, table=text + "t", ranges=found, token=text + "k", finished_below=marks, key_columns=keys, rows=rows
    )
    message = sink_pb2.WriteHeader.FromString(wire.header_message(batch).SerializeToString())
    assert message.rows == 2
    assert wire.batch_value(message, rows) == batch


@hypothesis.settings(max_examples=50)
@hypothesis.given(st.integers(0, 2**32 - 1), several(ranges()), several(rejections), several(stretches))
def test_a_result_comes_back_as_it_went(written, landed, rejected, parts):
    """Catches a swapped ordinal and item, a class that is lost on the way, and landed parts that would be sent again."""
    result = delivery.WriteResult(written=written, already_landed=landed, rejected=rejected, written_rows=parts)
    message = sink_pb2.WriteBatchResponse.FromString(wire.result_message(result).SerializeToString())
    assert wire.result_value(message) == result


@pytest.mark.parametrize("result_class", results.ResultClass, ids=str)
def test_a_failure_comes_back_as_it_went(result_class):
    """Catches a retry time read in the wrong unit, and a class that is not in the table."""
    failure = results.Failure(result_class=result_class, code="C", message="what", remedy="how", retry_after_seconds=1.25)
    assert wire.failure_value(wire.failure_message(failure)) == failure


@pytest.mark.parametrize("identity", delivery.Identity, ids=str)
def test_a_description_comes_back_as_it_went(identity):
    """Catches an identity that is taken for another: at-least-once sold as exactly-once."""
    description = delivery.Description(
        identity=identity, identity_reason="why", max_concurrency=3, preferred_rows=4, preferred_bytes=2**40
    )
    assert wire.description_value(wire.description_message(description)) == description


def test_an_unknown_class_promises_nothing():
    """Catches a class of a newer sink taken for DATA, which would make dead letters."""
    assert wire.failure_value(sink_pb2.Failure(code="x")).result_class is results.ResultClass.UNCLASSIFIED


def test_an_unknown_identity_is_refused():
    """Catches a default identity where a sink named none."""
    with pytest.raises(wire.MalformedMessageError, match="identity"):
        wire.description_value(sink_pb2.DescribeResponse())


def test_an_empty_range_is_refused_as_malformed():
    """Catches a ValueError that would look like a fault of this side."""
    with pytest.raises(wire.MalformedMessageError, match="ranges"):
        wire.range_values([sink_pb2.Range(log_id="l")])


def _refused(*rows):
    return [results.RejectedRow(row=row, result_class=results.ResultClass.DATA, code="C", message="no") for row in rows]


@pytest.mark.parametrize(
    "result",
    [
        delivery.WriteResult(written=10),
        delivery.WriteResult(already_landed=[addresses.Range("l", 0, addresses.Position(0), addresses.Position(1))]),
        delivery.WriteResult(rejected=_refused(0, 9)),
        delivery.WriteResult(written=4, written_rows=[delivery.Stretch(0, 3), delivery.Stretch(3, 4)]),
        delivery.WriteResult(written=5, written_rows=[delivery.Stretch(5, 10)], rejected=_refused(4, 0)),
    ],
    ids=["all", "landed", "rejected", "parts", "parts and rejected"],
)
def test_an_answer_that_can_be_true_is_taken(result):
    """Catches a check that refuses what our own sinks say: the lane would stand still."""
    wire.check_result(result, 10)


@pytest.mark.parametrize(
    "result",
    [
        delivery.WriteResult(),
        delivery.WriteResult(written=9),
        delivery.WriteResult(written=11),
        delivery.WriteResult(written=9, rejected=_refused(3)),
        delivery.WriteResult(rejected=_refused(10)),
        delivery.WriteResult(written=2, written_rows=[delivery.Stretch(0, 3)]),
        delivery.WriteResult(written=3, written_rows=[delivery.Stretch(8, 11)]),
        delivery.WriteResult(written=0, written_rows=[delivery.Stretch(3, 3)]),
        delivery.WriteResult(written=6, written_rows=[delivery.Stretch(3, 6), delivery.Stretch(0, 3)]),
        delivery.WriteResult(written=6, written_rows=[delivery.Stretch(0, 3), delivery.Stretch(2, 5)]),
        delivery.WriteResult(written=3, written_rows=[delivery.Stretch(0, 3)], rejected=_refused(2)),
    ],
    ids=str,
)
def test_an_answer_that_can_not_be_true_is_refused(result):
    """Catches a sink that takes nine rows of ten: the tenth would count as written and be nowhere."""
    with pytest.raises(wire.MalformedMessageError, match=r"written|rejected"):
        wire.check_result(result, 10)
