"""What an edit of a running pipeline may change, and what follows from it.

The log holds blocks that were written under the old object. An edit is refused when those could no longer be read or would
be told apart differently; once everything is read (drained), anything goes. docs/pipeline.md has the table.
"""

from __future__ import annotations

from collections.abc import Iterator

from penstock.api import lower
from penstock.api.model import pipeline, sinks
from penstock.core import errors, schema

_DRAIN_REMEDY = "Keep it as it was, or drain first: lifecycle: Draining, and wait until everything has landed."
_TEXT_LIKE = frozenset(
    {
        schema.FieldType.BOOLEAN,
        schema.FieldType.INT32,
        schema.FieldType.INT64,
        schema.FieldType.FLOAT64,
        schema.FieldType.DECIMAL,
        schema.FieldType.DATE,
        schema.FieldType.TIMESTAMP,
        schema.FieldType.UUID,
        schema.FieldType.JSON,
    }
)
_WIDER_THAN_INT32 = (schema.FieldType.INT64, schema.FieldType.FLOAT64)


def check_edit(old: pipeline.BatchPipeline, new: pipeline.BatchPipeline, *, drained: bool) -> list[errors.Problem]:
    """Why `new` can't take the place of `old`; empty where it can. `drained`: nothing in the log is unread."""
    problems = [*_renames(old, new), *_embedded_partitions(old, new)]
    if not drained:
        problems += [*_renamed_unread(old, new), *_immutable(old, new), *_schema(old, new)]
    return problems


def notices(old: pipeline.BatchPipeline, new: pipeline.BatchPipeline) -> list[str]:
    """What an accepted edit does to the lanes, in sentences: new, retired and renamed sinks."""
    renamed = _renamed(old, new)
    added = [sink for sink in new.spec.sinks if sink.name not in _names(old) and sink.name not in renamed]
    gone = [name for name in _names(old) if name not in _names(new) and name not in renamed.values()]
    return [
        *_state_notices(old, new),
        *(f"sink {was} is now {now} and goes on where it was" for now, was in renamed.items()),
        *(f"sink {sink.name} is new and reads from {_start(sink)}" for sink in added),
        *(f"sink {name} is gone: its lane ends, and what it hasn't read won't land there{_hint(added)}" for name in gone),
    ]


def _start(sink: sinks.Sink) -> str:
    start = sink.start_from
    if start.type == "Time" and start.time is not None:
        return start.time.isoformat()
    return "the beginning of the log" if start.type == "Earliest" else "now on"


def _hint(added: list[sinks.Sink]) -> str:
    return f" (if {added[0].name} is the same sink, say so there with renamedFrom)" if len(added) == 1 else ""


def _names(of: pipeline.BatchPipeline) -> list[str]:
    return [sink.name for sink in of.spec.sinks]


def _renamed(old: pipeline.BatchPipeline, new: pipeline.BatchPipeline) -> dict[str, str]:
    """New name to old name. renamedFrom may stay in the object after the rename is done."""
    return {
        sink.name: sink.renamed_from
        for sink in new.spec.sinks
        if sink.renamed_from in _names(old) and sink.name not in _names(old) and sink.renamed_from is not None
    }


def _renames(old: pipeline.BatchPipeline, new: pipeline.BatchPipeline) -> Iterator[errors.Problem]:
    known = _names(old)
    for index, sink in enumerate(new.spec.sinks):
        if sink.renamed_from and sink.name not in known and sink.renamed_from not in known:
            yield errors.Problem(
                field=f"spec.sinks[{index}].renamedFrom",
                value=sink.renamed_from,
                message=f"no sink of this name was there; there were {', '.join(known)}",
                remedy="Correct the name, or remove renamedFrom to start a new lane.",
            )


def _renamed_unread(old: pipeline.BatchPipeline, new: pipeline.BatchPipeline) -> Iterator[errors.Problem]:
    """What has landed but is not committed yet is remembered by the store under the old name only."""
    renamed = _renamed(old, new)
    for index, sink in enumerate(new.spec.sinks):
        if sink.name in renamed:
            message = f"can't be renamed while events are unread; it is {renamed[sink.name]}"
            yield errors.Problem(field=f"spec.sinks[{index}].name", value=sink.name, message=message, remedy=_DRAIN_REMEDY)


def _immutable(old: pipeline.BatchPipeline, new: pipeline.BatchPipeline) -> Iterator[errors.Problem]:
    for field, before, after in (
        ("spec.log.type", _log_type(old), _log_type(new)),
        ("spec.log.kafka.partitions", _kafka_partitions(old), _kafka_partitions(new)),
        ("spec.source.type", old.spec.source.type, new.spec.source.type),
        ("spec.source.kafka.topics", _topics(old), _topics(new)),
        ("spec.deduplicate.key", _key(old), _key(new)),
        ("spec.transform.state.key", _state_key(old), _state_key(new)),
        ("spec.source.ingest.partitionBy", lower.partition_key(old), lower.partition_key(new)),
    ):
        if before != after and None not in (before, after):
            message = f"can't change while events are unread; it is {_spoken(before)}"
            yield errors.Problem(field=field, value=_spoken(after), message=message, remedy=_DRAIN_REMEDY)


def _log_type(of: pipeline.BatchPipeline) -> str | None:
    """None where it is left to the place the pipeline runs in, which doesn't change with an edit."""
    return of.spec.log.type if of.spec.log else None


def _kafka_partitions(of: pipeline.BatchPipeline) -> int | None:
    return lower.partitions(of) if of.spec.log and of.spec.log.kafka else None


def _embedded(of: pipeline.BatchPipeline) -> int | None:
    """Partitions of a log that is, or on one machine would be, embedded."""
    told = of.spec.log
    return None if told and (told.kafka or told.type == "Kafka") else lower.partitions(of)


def _topics(of: pipeline.BatchPipeline) -> tuple[str, ...] | None:
    return tuple(sorted(of.spec.source.kafka.topics)) if of.spec.source.kafka else None


def _key(of: pipeline.BatchPipeline) -> tuple[str, ...]:
    return of.spec.deduplicate.key if of.spec.deduplicate else ()


def _state_key(of: pipeline.BatchPipeline) -> tuple[str, ...] | None:
    """None without state: it may come and go, and begins empty when it comes."""
    return of.spec.transform.state.key if of.spec.transform.state else None


def _state_values(of: pipeline.BatchPipeline) -> dict[str, tuple[str, str | None]]:
    return {one.name: (one.type, one.field) for one in of.spec.transform.state.values} if of.spec.transform.state else {}


def _state_notices(old: pipeline.BatchPipeline, new: pipeline.BatchPipeline) -> Iterator[str]:
    """What is forgotten and what begins empty, of each key."""
    before, after = _state_values(old), _state_values(new)
    if _state_key(old) not in (None, _state_key(new)):
        before = {}
    if begun := [name for name, what in after.items() if before.get(name) != what]:
        yield f"state {', '.join(begun)} begins empty now: earlier events don't count"
    if gone := [name for name in _state_values(old) if name not in after]:
        yield f"state {', '.join(gone)} is forgotten"


def _spoken(value: object) -> str:
    return (", ".join(map(str, value)) or "none") if isinstance(value, tuple) else str(value)


def _embedded_partitions(old: pipeline.BatchPipeline, new: pipeline.BatchPipeline) -> Iterator[errors.Problem]:
    """The file of the log is made with them, drained or not."""
    before, after = _embedded(old), _embedded(new)
    if before != after and None not in (before, after):
        yield errors.Problem(
            field="spec.log.embedded.partitions",
            value=str(after),
            message=f"can't change: the log of this data directory was made with {before}, also when it is drained",
            remedy=f"Keep {before}, or drain and start with another --data directory, whose log begins empty.",
        )


def _schema(old: pipeline.BatchPipeline, new: pipeline.BatchPipeline) -> Iterator[errors.Problem]:
    """Older blocks are read by name, so each field must be readable from what they hold under it."""
    before, after = lower.event_schema(old), lower.event_schema(new)
    if before.whole_event != after.whole_event:
        was = "the whole event in one column" if before.whole_event else "declared"
        message = f"can't change while events are unread; it is {was}"
        yield errors.Problem(field="spec.schema", value="", message=message, remedy=_DRAIN_REMEDY)
        return
    keys = {*_key(old), *lower.partition_key(old), *(_state_key(old) or ())}
    known = {field.name: field for field in before.fields}
    for index, field in enumerate(after.fields):
        reason = _unreadable(known.get(field.name), field, is_key=field.name in keys)
        if reason:
            place = f"spec.schema.fields[{index}]"
            yield errors.Problem(field=place, value=field.name, message=reason, remedy=_DRAIN_REMEDY)


def _unreadable(old: schema.Field | None, new: schema.Field, *, is_key: bool) -> str:
    """Why unread events don't fit the field; empty where they do."""
    if old is None:
        return "is new and required, and unread events don't have it" if new.required else ""
    if new.required and not old.required:
        return "is required now, and unread events may lack it"
    if is_key and old.type is not new.type:
        return f"is part of a key and can't change from {old.type.value}: unread events would no longer equal new ones"
    if not is_readable(old, new):
        return f"can't change from {described(old)} to {described(new)} without loss, and unread events hold the old type"
    return ""


def is_readable(old: schema.Field, new: schema.Field) -> bool:
    """Whether every value of the old type is one of the new type. Members of a Struct are matched by name."""
    if old.type is new.type is schema.FieldType.STRUCT:
        known = {member.name: member for member in old.fields}
        return all(member.name not in known or is_readable(known[member.name], member) for member in new.fields)
    if old.type is new.type is schema.FieldType.LIST:
        return old.element is None or new.element is None or is_readable(old.element, new.element)
    if old.type is new.type is schema.FieldType.DECIMAL:
        return new.scale >= old.scale and new.precision - new.scale >= old.precision - old.scale
    if old.type is schema.FieldType.INT32 and new.type in _WIDER_THAN_INT32:
        return True
    return old.type is new.type or (new.type is schema.FieldType.STRING and old.type in _TEXT_LIKE)


def described(field: schema.Field) -> str:
    """A type as a person would say it: `Decimal(18, 4)`, `List of Int32`, `Struct`."""
    if field.type is schema.FieldType.DECIMAL:
        return f"Decimal({field.precision}, {field.scale})"
    if field.type is schema.FieldType.LIST and field.element:
        return f"List of {described(field.element)}"
    if field.type is schema.FieldType.STRUCT:
        return f"Struct of {', '.join(f'{member.name} {described(member)}' for member in field.fields)}"
    return str(field.type.value)
