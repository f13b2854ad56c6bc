"""The values of `penstock.v1.Sink` as messages and back.

The server in front of a store and the batcher's client both translate here, so that neither can read a field in a way the
other does not write it. A message that lacks what it must have raises `MalformedMessageError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa

from penstock.core import addresses, delivery, results
from penstock.v1 import sink_pb2

IDENTITIES: Mapping[delivery.Identity, sink_pb2.Identity.ValueType] = {
    delivery.Identity.NONE: sink_pb2.IDENTITY_NONE,
    delivery.Identity.TRANSACTIONAL: sink_pb2.IDENTITY_TRANSACTIONAL,
    delivery.Identity.TOKEN: sink_pb2.IDENTITY_TOKEN,
    delivery.Identity.MANIFEST: sink_pb2.IDENTITY_MANIFEST,
    delivery.Identity.ROW_KEY: sink_pb2.IDENTITY_ROW_KEY,
}

CLASSES: Mapping[results.ResultClass, sink_pb2.ResultClass.ValueType] = {
    results.ResultClass.DATA: sink_pb2.RESULT_CLASS_DATA,
    results.ResultClass.OUTAGE: sink_pb2.RESULT_CLASS_OUTAGE,
    results.ResultClass.PRESSURE: sink_pb2.RESULT_CLASS_PRESSURE,
    results.ResultClass.CONFIG: sink_pb2.RESULT_CLASS_CONFIG,
    results.ResultClass.UNCLASSIFIED: sink_pb2.RESULT_CLASS_UNCLASSIFIED,
}


class MalformedMessageError(ValueError):
    """A message of the other end that can't mean anything; the text names the field and what it holds."""


def position_message(position: addresses.Position) -> sink_pb2.Position:
    return sink_pb2.Position(offset=position.offset, ordinal=position.ordinal, item=position.item)


def position_value(message: sink_pb2.Position) -> addresses.Position:
    return addresses.Position(message.offset, message.ordinal, message.item)


def range_messages(ranges: Iterable[addresses.Range]) -> list[sink_pb2.Range]:
    return [
        sink_pb2.Range(
            log_id=item.log_id,
            partition=item.partition,
            start=position_message(item.start),
            end=position_message(item.end),
        )
        for item in ranges
    ]


def range_values(messages: Iterable[sink_pb2.Range]) -> tuple[addresses.Range, ...]:
    """Raises MalformedMessageError for an empty range."""
    try:
        return tuple(
            addresses.Range(item.log_id, item.partition, position_value(item.start), position_value(item.end))
            for item in messages
        )
    except ValueError as error:
        raise MalformedMessageError(f"ranges: {error}") from error


def description_message(description: delivery.Description) -> sink_pb2.DescribeResponse:
    return sink_pb2.DescribeResponse(
        identity=IDENTITIES[description.identity],
        identity_reason=description.identity_reason,
        max_concurrency=description.max_concurrency,
        preferred_rows=description.preferred_rows,
        preferred_bytes=description.preferred_bytes,
    )


def description_value(message: sink_pb2.DescribeResponse) -> delivery.Description:
    """Raises MalformedMessageError when the sink names no identity that this version knows."""
    for identity, number in IDENTITIES.items():
        if number == message.identity:
            return delivery.Description(
                identity=identity,
                identity_reason=message.identity_reason,
                max_concurrency=message.max_concurrency,
                preferred_rows=message.preferred_rows,
                preferred_bytes=message.preferred_bytes,
            )
    raise MalformedMessageError(f"identity: {message.identity} is none this version knows")


def failure_message(failure: results.Failure) -> sink_pb2.Failure:
    return sink_pb2.Failure(
        result_class=CLASSES[failure.result_class],
        code=failure.code,
        message=failure.message,
        remedy=failure.remedy,
        retry_after_milliseconds=round(failure.retry_after_seconds * 1000),
    )


def failure_value(message: sink_pb2.Failure) -> results.Failure:
    return results.Failure(
        result_class=class_value(message.result_class),
        code=message.code,
        message=message.message,
        remedy=message.remedy,
        retry_after_seconds=message.retry_after_milliseconds / 1000,
    )


def class_value(number: sink_pb2.ResultClass.ValueType) -> results.ResultClass:
    """A class this version does not know is UNCLASSIFIED: nothing may be promised about it."""
    known = (result_class for result_class, value in CLASSES.items() if value == number)
    return next(known, results.ResultClass.UNCLASSIFIED)


def header_message(batch: delivery.SinkBatch) -> sink_pb2.WriteHeader:
    return sink_pb2.WriteHeader(
        lane=batch.lane,
        table=batch.table,
        ranges=range_messages(batch.ranges),
        token=batch.token,
        rows=batch.rows.num_rows,
        finished_below=[
            sink_pb2.Watermark(log_id=mark.log_id, partition=mark.partition, position=position_message(mark.position))
            for mark in batch.finished_below
        ],
        key_columns=batch.key_columns,
    )


def batch_value(header: sink_pb2.WriteHeader, rows: pa.Table) -> delivery.SinkBatch:
    """A write as its header and its rows tell it. Raises MalformedMessageError."""
    return delivery.SinkBatch(
        lane=header.lane,
        table=header.table,
        ranges=range_values(header.ranges),
        token=header.token,
        finished_below=_watermark_values(header.finished_below),
        key_columns=tuple(header.key_columns),
        rows=rows,
    )


def _watermark_values(messages: Iterable[sink_pb2.Watermark]) -> tuple[delivery.Watermark, ...]:
    return tuple(
        delivery.Watermark(log_id=mark.log_id, partition=mark.partition, position=position_value(mark.position))
        for mark in messages
    )


def result_message(result: delivery.WriteResult) -> sink_pb2.WriteBatchResponse:
    return sink_pb2.WriteBatchResponse(
        written=result.written,
        already_landed=range_messages(result.already_landed),
        rejected=[
            sink_pb2.RejectedRow(row=row.row, result_class=CLASSES[row.result_class], code=row.code, message=row.message)
            for row in result.rejected
        ],
        written_rows=[sink_pb2.RowStretch(start=part.start, end=part.end) for part in result.written_rows],
    )


def result_value(message: sink_pb2.WriteBatchResponse) -> delivery.WriteResult:
    return delivery.WriteResult(
        written=message.written,
        already_landed=range_values(message.already_landed),
        rejected=_rejected_values(message.rejected),
        written_rows=tuple(delivery.Stretch(part.start, part.end) for part in message.written_rows),
    )


def check_result(result: delivery.WriteResult, rows: int) -> None:
    """Raises MalformedMessageError when the answer can't be true of a write of `rows` rows.

    Taken at its word, it would count rows as written that are nowhere, or one row twice.
    """
    end = 0
    for part in result.written_rows:
        if not end <= part.start < part.end <= rows:
            raise MalformedMessageError(f"written_rows: {part.start} to {part.end} after {end}, of {rows} rows")
        end = part.end
    if result.already_landed:
        return
    if result.written_rows or result.rejected:
        _check_rejected(result, rows)
    wanted = sum(map(len, result.written_rows)) if result.written_rows or result.rejected else rows
    if result.written != wanted:
        raise MalformedMessageError(f"written: {result.written} where the rows make {wanted}")


def _check_rejected(result: delivery.WriteResult, rows: int) -> None:
    for refused in result.rejected:
        if refused.row >= rows or any(part.start <= refused.row < part.end for part in result.written_rows):
            raise MalformedMessageError(f"rejected: row {refused.row} of {rows} rows is written too, or isn't there")


def _rejected_values(messages: Iterable[sink_pb2.RejectedRow]) -> tuple[results.RejectedRow, ...]:
    return tuple(
        results.RejectedRow(row=row.row, result_class=class_value(row.result_class), code=row.code, message=row.message)
        for row in messages
    )
