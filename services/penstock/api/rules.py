"""Every rule between fields, as data: where it holds, its text in CEL, what it says and the way out.

The text is the one the cluster evaluates; `check` evaluates the very same one here, so the two can't drift apart. A rule
sits on the lowest object that holds all of its fields: the cluster checks a rule again when its object changes, and one on
`spec` after every edit. Those that can't sit lower are at the end. `__as__` is how CEL in a cluster writes a field whose
name is a word of its own. has() guards every field without a default, because CEL stops at a field that isn't there.
"""

from __future__ import annotations

from typing import Final

from penstock.api import defaults, rule, state_rules

Rule = rule.Rule


def _ordered(path: str, low: str, high: str) -> Rule:
    """`low` is at most `high`, where both are there."""
    present = [f"has(self.{name})" for name in (low, high)]
    return Rule(
        path=path,
        cel=f"!({' && '.join(present)}) || self.{low} <= self.{high}",
        message=f"is more than {high}",
        remedy=f"Lower {low} or raise {high}.",
        field=f".{low}",
    )


def _within(member: str, default_of_type: dict[str, int]) -> Rule:
    """A value of `batching.static` is within the limit, also where the limit is the default of the sink's type."""
    table = ", ".join(f"'{type_}': {value}" for type_, value in default_of_type.items())
    static, limit = f"self.batching.static.{member}", f"self.batching.limits.{member}"
    return Rule(
        path="spec.sinks[]",
        cel=f"!has({static}) || {static} <= (has({limit}) ? {limit} : {{{table}}}[self.type])",
        message=f"is more than batching.limits.{member} allows, whose default depends on the type of the sink",
        remedy=f"Lower it, or raise batching.limits.{member}.",
        field=f".batching.static.{member}",
    )


_BASIC_AUTHENTICATION = (
    "spec.source.kafka.format.registry.authentication",
    "spec.sinks[].clickHouse.authentication",
    "spec.sinks[].postgres.authentication",
    "spec.sinks[].kafka.format.registry.authentication",
)
_KAFKA = ("spec.log.kafka", "spec.source.kafka", "spec.sinks[].kafka")
_FORMATS = ("spec.source.kafka.format", "spec.sinks[].kafka.format")
_STARTS = ("spec.source.kafka.startFrom", "spec.sinks[].startFrom")
_FIELD = "spec.schema.fields[]**"
_LATENCIES = ", ".join(f"'{type_}': {chosen.latency_milliseconds}" for type_, chosen in defaults.BATCHING.items())
_LINGER_LIMIT = (
    "(has(self.batching.limits.lingerMilliseconds) ? self.batching.limits.lingerMilliseconds : "
    "(has(self.batching.objective.latencyMilliseconds) ? self.batching.objective.latencyMilliseconds : "
    f"{{{_LATENCIES}}}[self.type]) * {defaults.LINGER_LIMIT_PERCENT} / 100)"
)

_LOG_AND_SOURCE: Final = (
    Rule(
        path="spec.log",
        cel="(has(self.type) && self.type == 'Kafka') == has(self.kafka)",
        message="must be set when type is Kafka, and only then",
        remedy="Set it with type Kafka, and leave it out with every other type.",
        field=".kafka",
    ),
    Rule(
        path="spec.log",
        cel="(has(self.type) && self.type == 'Embedded') || !has(self.embedded)",
        message="belongs to type Embedded alone",
        remedy="Set it with type Embedded, and leave it out with every other type.",
        field=".embedded",
    ),
    rule.member("spec.source", "Ingest", "ingest", optional=True),
    rule.member("spec.source", "Kafka", "kafka"),
    rule.member("spec.source.ingest.auth", "BearerToken", "secretRef"),
    _ordered("spec.source.ingest.replicas", "min", "max"),
    *(rule.member(path, "Time", "time") for path in _STARTS),
    *(rule.member(path, "Basic", "secretRef") for path in _BASIC_AUTHENTICATION),
    *(
        Rule(
            path=path,
            cel="self.type == 'Json' || has(self.registry)",
            message="is missing; this format is read and written with a schema registry",
            remedy="Set registry.url, or use type Json.",
            field=".registry",
        )
        for path in _FORMATS
    ),
    *(one for path in _KAFKA for one in rule.cluster(path)),
)

_SCHEMA: Final = (
    rule.unique("spec.schema.fields"),
    Rule(
        path="spec.schema.fields[]",
        cel="!self.name.startsWith('_')",
        message="starts with _, and such names are Penstock's own",
        remedy='Choose another name and say where the value stands: {name: id, path: "$._id"}.',
        field=".name",
    ),
    Rule(
        path="spec.schema.fields[]",
        cel="!(self.name in ['kafka_key', 'kafka_topic', 'kafka_partition', 'kafka_offset', 'kafka_timestamp', 'kafka_headers'])",
        message="is the name of a column that Kafka sources add",
        remedy="Choose another name and say with path where the value stands.",
        field=".name",
    ),
    rule.member(_FIELD, "List", "element"),
    rule.member(_FIELD, "Struct", "fields"),
    rule.member(_FIELD, "Decimal", "precision", optional=True),
    rule.member(_FIELD, "Decimal", "scale", optional=True),
    rule.member(_FIELD, "Timestamp", "format", optional=True),
    Rule(
        path=_FIELD,
        cel="(has(self.scale) ? self.scale : 4) <= (has(self.precision) ? self.precision : 18)",
        message="is more than precision, all digits together (when omitted: precision 18, scale 4)",
        remedy="Lower scale or raise precision.",
        field=".scale",
    ),
)

_TRANSFORM: Final = (
    Rule(
        path="spec.transform.explode",
        cel="!has(self.indexAs) || self.indexAs != self.__as__",
        message="is also the name of the item",
        remedy="Give the position another name.",
        field=".indexAs",
    ),
    rule.unique("spec.transform.variables"),
    rule.unique("spec.transform.select"),
    Rule(
        path="spec.transform.select",
        cel="self.exists(c, !c.routeOnly)",
        message="every column is routeOnly, so nothing would be written",
        remedy="Select at least one column without routeOnly.",
    ),
    Rule(
        path="spec.transform.select[]",
        cel="!(has(self.value) && has(self.literal))",
        message="stands beside value, and a column has one of the two",
        remedy="Remove one of the two.",
        field=".literal",
    ),
)

_SINKS: Final = (
    Rule(
        path="spec.sinks",
        cel="self.all(s, !has(s.renamedFrom) || !self.exists(o, o.name == s.renamedFrom))",
        message="renamedFrom names a sink that is still there",
        remedy="Remove renamedFrom, or the sink it names.",
    ),
    Rule(
        path="spec.sinks",
        cel="self.all(s, !has(s.renamedFrom) || self.exists_one(o, has(o.renamedFrom) && o.renamedFrom == s.renamedFrom))",
        message="two sinks are renamed from the same one, but only one can keep its offsets",
        remedy="Remove renamedFrom from all but one of them.",
    ),
    rule.member("spec.sinks[]", "ClickHouse", "clickHouse"),
    rule.member("spec.sinks[]", "Postgres", "postgres"),
    rule.member("spec.sinks[]", "Kafka", "kafka"),
    rule.member("spec.sinks[]", "Files", "files"),
    rule.member("spec.sinks[]", "DuckDB", "duckDB"),
    rule.member("spec.sinks[]", "HTTP", "http"),
    rule.member("spec.sinks[]", "Custom", "custom"),
    _within("rows", {type_: chosen.limit_rows for type_, chosen in defaults.BATCHING.items()}),
    _within("concurrency", {type_: chosen.limit_concurrency for type_, chosen in defaults.BATCHING.items()}),
    Rule(
        path="spec.sinks[]",
        cel=f"!has(self.batching.static.lingerMilliseconds) || self.batching.static.lingerMilliseconds <= {_LINGER_LIMIT}",
        message="is more than batching.limits.lingerMilliseconds allows, by default three quarters of the objective's latency",
        remedy="Lower it, or raise batching.limits.lingerMilliseconds.",
        field=".batching.static.lingerMilliseconds",
    ),
    Rule(
        path="spec.sinks[]",
        cel="self.hedging.mode == 'Disabled' || self.type in ['ClickHouse', 'Postgres', 'Custom']",
        message="can't be Idempotent here: a record or request that goes out twice stands there twice (Kafka, HTTP), and files"
        " have one writer (Files, DuckDB)",
        remedy="Set hedging.mode to Disabled, or remove hedging.",
        field=".hedging.mode",
    ),
    Rule(
        path="spec.sinks[]",
        cel="self.hedging.mode == 'Disabled' || !(self.type in ['ClickHouse', 'Postgres', 'Custom']) || "
        "(has(self.ordering) ? self.ordering == 'None' : !(has(self.postgres) && self.postgres.write == 'Upsert'))",
        message="can't be Idempotent where order is kept: a second write could overtake the next batch",
        remedy="Set hedging.mode to Disabled, or ordering to None.",
        field=".hedging.mode",
    ),
    _ordered("spec.sinks[].retry", "initialBackoffMilliseconds", "maxBackoffMilliseconds"),
    _ordered("spec.sinks[].replicas", "min", "max"),
    rule.member("spec.sinks[].files.authentication", "AccessKey", "secretRef"),
    Rule(
        path="spec.sinks[].kafka",
        cel="!has(self.tombstone) || has(self.key)",
        message="needs a key: a record without a value deletes its key",
        remedy="Set key, or remove tombstone.",
        field=".tombstone",
    ),
    Rule(
        path="spec.sinks[].kafka",
        cel="!self.headers.exists(h, h.name == 'penstock-event-id')",
        message="has penstock-event-id, which every record has already",
        remedy="Give the header another name.",
        field=".headers",
    ),
    Rule(
        path="spec.sinks[].postgres",
        cel="(self.write == 'Upsert') == has(self.key)",
        message="must be set when write is Upsert, and only then",
        remedy="Name the columns that make a row unique, or use write Append without a key.",
        field=".key",
    ),
    Rule(
        path="spec.sinks[].postgres",
        cel="self.write == 'Upsert' || !has(self.versionColumn)",
        message="belongs to write Upsert alone",
        remedy="Remove it, or use write Upsert.",
        field=".versionColumn",
    ),
    Rule(
        path="spec.sinks[].http.headers[]",
        cel="has(self.value) != has(self.secretKeyRef)",
        message="has neither or both of value and secretKeyRef",
        remedy="Set one of the two.",
    ),
)

_ACROSS: Final = (
    Rule(
        path="spec",
        cel="!has(self.deduplicate) || has(self.schema)",
        message="needs fields to compare, and no schema is declared",
        remedy="Declare the key's fields under spec.schema.fields.",
        field=".deduplicate",
    ),
    Rule(
        path="spec",
        cel="!has(self.deduplicate) || !has(self.schema) || "
        "self.deduplicate.key.all(k, self.schema.fields.exists(f, f.name == k))",
        message="names a field that isn't declared",
        remedy="Declare it under spec.schema.fields, or correct the name.",
        field=".deduplicate.key",
    ),
    Rule(
        path="spec",
        cel="!has(self.deduplicate) || !has(self.schema) || "
        "self.deduplicate.key.all(k, self.schema.fields.all(f, f.name != k || f.required))",
        message="names a field that events may leave out",
        remedy="Set required: true on each of these fields.",
        field=".deduplicate.key",
    ),
    Rule(
        path="spec",
        cel="!has(self.deduplicate) || !has(self.schema) || self.deduplicate.key.all(k, "
        "self.schema.fields.all(f, f.name != k || !(f.type in ['Json', 'List', 'Struct'])))",
        message="names a Json, List or Struct field, and those have no one way to be equal",
        remedy="Use fields of the other types.",
        field=".deduplicate.key",
    ),
    Rule(
        path="spec",
        cel="!has(self.source.ingest) || !has(self.source.ingest.partitionBy) || !has(self.deduplicate) || "
        "self.source.ingest.partitionBy.all(p, p in self.deduplicate.key)",
        message="has a field that isn't in deduplicate.key, so that equal events could end up in different partitions",
        remedy="Use a subset of deduplicate.key, or leave partitionBy out.",
        field=".source.ingest.partitionBy",
    ),
    Rule(
        path="spec",
        cel="!has(self.source.ingest) || !has(self.source.ingest.partitionBy) || "
        "(has(self.schema) && self.source.ingest.partitionBy.all(p, self.schema.fields.exists(f, f.name == p)))",
        message="names a field that isn't declared",
        remedy="Declare it under spec.schema.fields, or correct the name.",
        field=".source.ingest.partitionBy",
    ),
    Rule(
        path="spec",
        cel="!has(self.source.kafka) || !has(self.source.kafka.arrayRoot) || (has(self.schema) && "
        "self.schema.fields.exists(f, f.name == self.source.kafka.arrayRoot && f.type == 'List'))",
        message="isn't a declared field of type List",
        remedy="Declare it under spec.schema.fields with type List.",
        field=".source.kafka.arrayRoot",
    ),
    Rule(
        path="spec",
        cel="!has(self.transform.explode) || (has(self.schema) && "
        "self.schema.fields.exists(f, f.name == self.transform.explode.field && f.type == 'List'))",
        message="isn't a declared field of type List",
        remedy="Declare it under spec.schema.fields with type List, or correct the name.",
        field=".transform.explode.field",
    ),
    Rule(
        path="spec",
        cel="!has(self.transform.explode) || !has(self.schema) || self.schema.fields.all(f, f.name != "
        "self.transform.explode.__as__ && (!has(self.transform.explode.indexAs) || f.name != self.transform.explode.indexAs))",
        message="the item or its position has the name of a field",
        remedy="Choose names under as and indexAs that no field has.",
        field=".transform.explode",
    ),
    Rule(
        path="spec",
        cel="!has(self.schema) || self.transform.variables.all(v, self.schema.fields.all(f, f.name != v.name))",
        message="a variable has the name of a field",
        remedy="Choose names that no field has.",
        field=".transform.variables",
    ),
    Rule(
        path="spec",
        cel="!has(self.log) || !has(self.log.kafka) || "
        "self.sinks.all(s, !has(s.replicas.max) || s.replicas.max <= self.log.kafka.partitions)",
        message="is less than replicas.max of a sink: pods beyond one per partition would have nothing to read",
        remedy="Raise partitions, or lower replicas.max.",
        field=".log.kafka.partitions",
    ),
    Rule(
        path="spec",
        cel="!has(self.transform.select) || self.sinks.all(s, !has(s.files) || s.files.partition.all(p, "
        "!has(p.value) || self.transform.select.all(c, c.name != p.name)))",
        message="a partition column of a Files sink has a value of its own and the name of an output column",
        remedy="Leave out its value to use the output column, or rename it.",
        field=".sinks",
    ),
    Rule(
        path="spec",
        cel="self.sinks.all(s, !has(s.files) || s.files.partition.all(p, has(p.value) || (has(self.transform.select) ? "
        "self.transform.select.exists(c, c.name == p.name && !c.routeOnly) : "
        "has(self.schema) ? self.schema.fields.exists(f, f.name == p.name) : p.name in ['event', 'received_at'])))",
        message="a partition column of a Files sink is neither given a value nor an output column that is written",
        remedy="Give it a value, or select a column of that name.",
        field=".sinks",
    ),
)

BATCH_PIPELINE: Final[tuple[Rule, ...]] = (*_LOG_AND_SOURCE, *_SCHEMA, *_TRANSFORM, *state_rules.STATE, *_SINKS, *_ACROSS)

DEAD_LETTER_REPLAY: Final[tuple[Rule, ...]] = (
    rule.member("spec.source", "KafkaTopic", "kafkaTopic"),
    *rule.cluster("spec.source.kafkaTopic"),
    Rule(
        path="spec.source.kafkaTopic",
        cel="has(self.bootstrapServers) || (self.authentication.type == 'None' && !has(self.tls))",
        message="is missing, and credentials belong to the cluster that it names",
        remedy="Name the cluster, or leave authentication and tls out to use the pipeline's.",
        field=".bootstrapServers",
    ),
    Rule(
        path="spec",
        cel="self.source.type != 'KafkaTopic' || self.select.sinks.size() <= 1",
        message="names several sinks, and letters of a topic go to one",
        remedy="Name one sink; write another DeadLetterReplay for each of the others.",
        field=".select.sinks",
    ),
    Rule(
        path="spec",
        cel="self.action != 'Discard' || has(self.reason)",
        message="is missing, and letters are only given up with a reason",
        remedy="Say why in one sentence.",
        field=".reason",
    ),
    Rule(
        path="spec.select",
        cel="!(has(self.failedAfterTime) && has(self.failedBeforeTime)) || self.failedAfterTime < self.failedBeforeTime",
        message="isn't before failedBeforeTime, so that nothing could be selected",
        remedy="Move one of the two.",
        field=".failedAfterTime",
    ),
)
