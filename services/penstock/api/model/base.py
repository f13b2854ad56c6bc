"""What every part of the API is made of: the frozen model, and the bounded words, names and numbers.

Each string, list and integer of the API has a bound: an unbounded one makes the cluster refuse the cross-field rules over
it, and lets one object grow until it hurts its neighbours. The bounds live here, so that a page of the API reads as prose.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import pydantic
from pydantic import alias_generators

MAX_INT64: Final = 2**63 - 1

DNS_LABEL: Final = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
DNS_SUBDOMAIN: Final = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
COLUMN: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"
JSON_PATH: Final = r"^\$(\.[A-Za-z0-9_@$-]+)+$"
TABLE: Final = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$"
TABLE_TEMPLATE: Final = r"^[A-Za-z0-9_.-]*(\{[A-Za-z_][A-Za-z0-9_]*\}[A-Za-z0-9_.-]*)+$"
TOPIC: Final = r"^[A-Za-z0-9._-]+$"
HOST: Final = r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$"
HOST_PORT: Final = r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?:[0-9]{1,5}$"
HTTP_URL: Final = r"^https?://[^\s/]+(/\S*)?$"
FILES_URL: Final = r"^(s3://[^\s/]+(/\S*)?|file:///\S+|file://\./\S+)$"
SECRET_KEY: Final = r"^[A-Za-z0-9._-]+$"  # noqa: S105 - what such a name looks like
HEADER: Final = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"
QUANTITY: Final = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
FINGERPRINT: Final = r"^[0-9a-f]+$"

WORDS_OF_PATTERN: Final[Mapping[str, str]] = types.MappingProxyType(
    {
        DNS_LABEL: "may hold lower-case letters, digits and dashes, and starts and ends with a letter or digit",
        DNS_SUBDOMAIN: "may hold lower-case letters, digits, dashes and dots, and starts and ends with a letter or digit",
        COLUMN: "may hold letters, digits and underscores, and doesn't start with a digit",
        JSON_PATH: 'must be "$" and the names of members, such as "$.meta.device-id"',
        TABLE: "must be a name of letters, digits, underscores, dashes, and dots between two parts",
        TABLE_TEMPLATE: 'must name at least one column in braces, such as "clicks_{region}"',
        TOPIC: "may hold letters, digits, dots, dashes and underscores",
        HOST: "must be the name or address of a host",
        HOST_PORT: 'must be a host and a port, such as "kafka:9093"',
        HTTP_URL: 'must be an http:// or https:// address, such as "http://clickhouse:8123"',
        FILES_URL: 'must be "s3://bucket/prefix", "file:///absolute/path" or "file://./relative/path"',
        SECRET_KEY: "may hold letters, digits, dots, dashes and underscores",
        HEADER: "must be the name of an HTTP header",
        QUANTITY: 'must be a quantity, such as "500m" or "2Gi"',
        FINGERPRINT: "must be a fingerprint as `penstock dlq ls` shows it: hexadecimal digits",
    }
)
"""What a pattern asks for, in the words of an error."""


class Model(pydantic.BaseModel):
    """One object of the API: frozen, nothing unknown, nothing coerced, camelCase outside and snake_case inside."""

    model_config = pydantic.ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=alias_generators.to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        use_attribute_docstrings=True,
    )


def text(maximum: int, pattern: str | None = None, **extra: Any) -> Any:
    """The bounds of a string: not empty, at most `maximum` characters, of `pattern`."""
    return pydantic.Field(min_length=1, max_length=maximum, pattern=pattern, **extra)


def whole(minimum: int, maximum: int) -> Any:
    """The bounds of an integer, both inclusive."""
    return pydantic.Field(ge=minimum, le=maximum)


def named(maximum: int, minimum: int = 0, key: str = "name") -> Any:
    """The bounds of a list of named things: no two items may share `key`, and an edit touches one item."""
    return pydantic.Field(
        min_length=minimum,
        max_length=maximum,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]},
    )


Column = Annotated[str, text(63, COLUMN)]
Sql = Annotated[str, text(4096)]
Topic = Annotated[str, text(249, TOPIC)]
TableName = Annotated[str, text(249, TABLE)]
HttpUrl = Annotated[str, text(2048, HTTP_URL)]
Host = Annotated[str, text(253, HOST)]
Port = Annotated[int, whole(1, 65535)]
BootstrapServers = Annotated[tuple[Annotated[str, text(260, HOST_PORT)], ...], pydantic.Field(min_length=1, max_length=16)]
Word = Annotated[str, text(255)]
Percent = Annotated[int, whole(1, 100)]
Bytes = Annotated[int, whole(1, 1 << 50)]
LabelValue = Annotated[str, pydantic.Field(max_length=63)]
AnnotationValue = Annotated[str, pydantic.Field(max_length=4096)]
Labels = Annotated[dict[Annotated[str, text(317)], LabelValue], pydantic.Field(max_length=64)]
Annotations = Annotated[dict[Annotated[str, text(317)], AnnotationValue], pydantic.Field(max_length=64)]


def _name_or_template(value: object) -> str | None:
    if isinstance(value, str):
        return "<name>"
    return "<template>" if isinstance(value, dict | NameTemplate) else None


class NameTemplate(Model):
    """A name made from columns of the row, kept inside a list of names so that no row can choose where to write."""

    template: Annotated[str, text(255, TABLE_TEMPLATE)]
    """The name, with output columns in braces, such as "clicks_{region}". A NULL column gives `otherwise`."""
    allowed: Annotated[tuple[Annotated[str, text(63, SECRET_KEY)], ...], pydantic.Field(min_length=1, max_length=1024)]
    """What may stand between the braces. A row with anything else there goes to `otherwise`."""
    otherwise: TableName
    """Where rows go whose values are not allowed."""


TableChoice = Annotated[
    Annotated[TableName, pydantic.Tag("<name>")] | Annotated[NameTemplate, pydantic.Tag("<template>")],
    pydantic.Discriminator(_name_or_template),
]
"""A table by name, or by a template over the row's columns."""


class SecretReference(Model):
    """A Secret in the pipeline's own namespace."""

    name: Annotated[str, text(253, DNS_SUBDOMAIN)]
    """Name of the Secret."""


class SecretKeyReference(Model):
    """One key of a Secret in the pipeline's own namespace."""

    name: Annotated[str, text(253, DNS_SUBDOMAIN)]
    """Name of the Secret."""
    key: Annotated[str, text(253, SECRET_KEY)]
    """Key inside the Secret."""


class ClientTls(Model):
    """How a store's or broker's certificate is checked, and which certificate is shown to it."""

    ca_secret_ref: SecretKeyReference | None = None
    """The certificate authority to trust. Omitted: the system's."""
    secret_ref: SecretReference | None = None
    """The client's own certificate, keys tls.crt and tls.key. Omitted: none is shown."""


class BasicAuthentication(Model):
    """User name and password."""

    type: Literal["None", "Basic"] = "None"
    """None: no credentials. Basic: keys username and password of the Secret."""
    secret_ref: SecretReference | None = None
    """The Secret with the keys username and password. Belongs to type Basic."""


class KafkaAuthentication(Model):
    """How Penstock proves to Kafka who it is."""

    type: Literal["None", "ScramSha512", "Plain", "Tls"] = "None"
    """None: no credentials. ScramSha512 and Plain: username and password. Tls: a client certificate."""
    username: Word | None = None
    """The user's name. Belongs to ScramSha512 and Plain."""
    password_secret_ref: SecretKeyReference | None = None
    """Where the password is kept. Belongs to ScramSha512 and Plain."""
    secret_ref: SecretReference | None = None
    """The Secret with the keys tls.crt and tls.key. Belongs to Tls."""


class Replicas(Model):
    """How many pods there may be."""

    mode: Literal["Auto", "External"] = "Auto"
    """Auto: Penstock chooses between min and max. External: something else, such as an autoscaler, sets the number."""
    min: Annotated[int, whole(0, 1000)] = 1
    """The fewest pods."""
    max: Annotated[int, whole(1, 1000)] | None = None
    """The most pods. Omitted: as many as the log has partitions."""


class StartFrom(Model):
    """Where in the log or topic reading starts, the first time."""

    type: Literal["Earliest", "Now", "Time"] = "Earliest"
    """Earliest: everything that is still there. Now: only what comes from now on. Time: what was appended since `time`."""
    time: pydantic.AwareDatetime | None = None
    """A moment with its time zone, such as "2026-01-31T08:00:00Z". Belongs to type Time."""
