"""What an error of the brokers or of the client means: whose fault it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka import errors

from penstock.core import results
from penstock.sinks import port

_CONFIG, _OUTAGE, _PRESSURE, _DATA = (
    results.ResultClass.CONFIG,
    results.ResultClass.OUTAGE,
    results.ResultClass.PRESSURE,
    results.ResultClass.DATA,
)

_KNOWN: Mapping[type[BaseException], tuple[results.ResultClass, str, str]] = {
    errors.MessageSizeTooLargeError: (_DATA, "TOO_LARGE", ""),
    errors.RecordListTooLargeError: (_DATA, "TOO_LARGE", ""),
    errors.UnknownTopicOrPartitionError: (
        _CONFIG,
        "NO_TOPIC",
        "make the topic, or set tablePolicy: CreateIfMissing; if it is there, let this user describe it",
    ),
    errors.InvalidTopicError: (_CONFIG, "TOPIC_NAME", "use letters, digits, dots, dashes and underscores, at most 249"),
    errors.TopicAuthorizationFailedError: (_CONFIG, "NOT_ALLOWED", "give this user the right to describe and write the topic"),
    errors.ClusterAuthorizationFailedError: (
        _CONFIG,
        "NOT_ALLOWED",
        "give this user the right IdempotentWrite on the cluster, or write on the topic with brokers of 3.0 or later",
    ),
    errors.PolicyViolationError: (_CONFIG, "POLICY", "the message is the cluster's own policy; make the topic by hand"),
    errors.InvalidReplicationFactorError: (
        _CONFIG,
        "REPLICATION",
        "set kafka.replicationFactor to at most the brokers there are",
    ),
    errors.InvalidPartitionsError: (_CONFIG, "PARTITIONS", "set kafka.partitions to what the cluster allows"),
    errors.InvalidRequiredAcksError: (_CONFIG, "ACKS", "allow acks=all"),
    errors.UnsupportedForMessageFormatError: (_CONFIG, "RECORD_FORMAT", "let the topic keep records of version 2"),
    errors.UnsupportedVersionError: (_CONFIG, "BROKER_VERSION", "use brokers of 2.4 or later"),
    errors.IncompatibleBrokerVersion: (_CONFIG, "BROKER_VERSION", "use brokers of 2.4 or later"),
    errors.UnsupportedSaslMechanismError: (_CONFIG, "SASL_MECHANISM", "choose another kafka.authentication.type"),
    errors.AuthenticationFailedError: (_OUTAGE, "CREDENTIALS_REJECTED", "renew the secret of kafka.authentication"),
    errors.SaslAuthenticationFailed: (_OUTAGE, "CREDENTIALS_REJECTED", "renew the secret of kafka.authentication"),
    errors.QuotaViolationError: (_PRESSURE, "THROTTLED", ""),
    errors.KafkaTimeoutError: (_PRESSURE, "QUEUE_FULL", ""),
    errors.OutOfOrderSequenceNumber: (_OUTAGE, "PRODUCER_LOST", ""),
    errors.InvalidProducerEpoch: (_OUTAGE, "PRODUCER_LOST", ""),
    errors.InvalidProducerIdMapping: (_OUTAGE, "PRODUCER_LOST", ""),
    errors.UnknownProducerId: (_OUTAGE, "PRODUCER_LOST", ""),
    errors.ProducerFenced: (_OUTAGE, "PRODUCER_LOST", ""),
    errors.ProducerClosed: (_OUTAGE, "PRODUCER_LOST", ""),
}


class LostError(Exception):
    """Another write has found the producer broken; what this one had sent may have landed."""


def failure(error: BaseException, what: str) -> results.Failure:
    """`what` was being done, and to which topic."""
    known = next((told for kind, told in _KNOWN.items() if isinstance(error, kind)), None)
    if known is None:
        lost = isinstance(error, OSError | TimeoutError | LostError) or getattr(error, "retriable", False)
        lost = lost or isinstance(error, errors.KafkaConnectionError)
        known = (_OUTAGE, "UNAVAILABLE", "") if lost else (results.ResultClass.UNCLASSIFIED, type(error).__name__, "")
    result_class, code, remedy = known
    message = f"{what}: {_words(error)}"
    return results.Failure(result_class=result_class, code=code, message=message, remedy=remedy)


def as_error(error: BaseException, what: str) -> port.SinkError:
    """As the writer raises it."""
    return error if isinstance(error, port.SinkError) else port.SinkError(failure(error, what))


def for_code(code: int) -> errors.KafkaError | None:
    """What the broker answered; None for success."""
    return errors.for_code(code)() if code else None


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time; the rows may have landed and are sent again"
    told = str(error).removeprefix("[Error ")
    return f"{type(error).__name__}: {told}" if told else type(error).__name__
