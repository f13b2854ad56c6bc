"""Whose fault an error of the brokers is."""

import pytest
from aiokafka import errors

from penstock.core import results
from penstock.sinks.kafka import failures

CLASS = results.ResultClass


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.MessageSizeTooLargeError(), CLASS.DATA),
        (errors.UnknownTopicOrPartitionError(), CLASS.CONFIG),
        (errors.TopicAuthorizationFailedError("t"), CLASS.CONFIG),
        (errors.ClusterAuthorizationFailedError(), CLASS.CONFIG),
        (errors.InvalidTopicError(), CLASS.CONFIG),
        (errors.SaslAuthenticationFailed(), CLASS.OUTAGE),
        (errors.NotEnoughReplicasError(), CLASS.OUTAGE),
        (errors.NotEnoughReplicasAfterAppendError(), CLASS.OUTAGE),
        (errors.KafkaConnectionError(), CLASS.OUTAGE),
        (errors.NodeNotReadyError(), CLASS.OUTAGE),
        (errors.OutOfOrderSequenceNumber(), CLASS.OUTAGE),
        (errors.KafkaStorageError(), CLASS.OUTAGE),
        (ConnectionResetError(), CLASS.OUTAGE),
        (TimeoutError(), CLASS.OUTAGE),
        (failures.LostError("given up"), CLASS.OUTAGE),
        (errors.KafkaTimeoutError(), CLASS.PRESSURE),
        (errors.QuotaViolationError(), CLASS.PRESSURE),
        (errors.CorruptRecordException(), CLASS.UNCLASSIFIED),
        (errors.UnknownError(), CLASS.UNCLASSIFIED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.value,
)
def test_each_error_has_the_class_that_says_what_happens_next(error, expected):
    """Catches an outage that dead-letters, and a missing right that is tried for ever without a word."""
    found = failures.failure(error, "writing to topic t")
    assert found.result_class is expected
    assert found.message.startswith("writing to topic t: ")
    assert bool(found.remedy) == (expected is CLASS.CONFIG or found.code == "CREDENTIALS_REJECTED")
