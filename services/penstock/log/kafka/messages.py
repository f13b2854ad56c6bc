"""The two requests of Kafka's protocol that the client has no name for: a topic's id, and the bytes on the brokers' disks."""

from __future__ import annotations

import uuid
from io import BytesIO

from aiokafka.protocol import api, types


class Uuid(types.AbstractType[uuid.UUID]):
    """Sixteen bytes."""

    @classmethod
    def encode(cls, value: uuid.UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> uuid.UUID:
        return uuid.UUID(bytes=data.read(16))


class MetadataResponse(api.Response):
    """Version 12."""

    API_KEY = 3
    API_VERSION = 12
    SCHEMA = types.Schema(
        ("throttle_time_ms", types.Int32),
        (
            "brokers",
            types.CompactArray(
                ("node_id", types.Int32),
                ("host", types.CompactString("utf-8")),
                ("port", types.Int32),
                ("rack", types.CompactString("utf-8")),
                ("tags", types.TaggedFields),
            ),
        ),
        ("cluster_id", types.CompactString("utf-8")),
        ("controller_id", types.Int32),
        (
            "topics",
            types.CompactArray(
                ("error_code", types.Int16),
                ("name", types.CompactString("utf-8")),
                ("topic_id", Uuid),
                ("is_internal", types.Boolean),
                (
                    "partitions",
                    types.CompactArray(
                        ("error_code", types.Int16),
                        ("partition", types.Int32),
                        ("leader", types.Int32),
                        ("leader_epoch", types.Int32),
                        ("replicas", types.CompactArray(types.Int32)),
                        ("in_sync", types.CompactArray(types.Int32)),
                        ("offline", types.CompactArray(types.Int32)),
                        ("tags", types.TaggedFields),
                    ),
                ),
                ("operations", types.Int32),
                ("tags", types.TaggedFields),
            ),
        ),
        ("tags", types.TaggedFields),
    )


class MetadataRequestV12(api.RequestStruct):
    """Topics by name, without making them."""

    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 12
    RESPONSE_TYPE = MetadataResponse
    SCHEMA = types.Schema(
        (
            "topics",
            types.CompactArray(("topic_id", Uuid), ("name", types.CompactString("utf-8")), ("tags", types.TaggedFields)),
        ),
        ("allow_auto_topic_creation", types.Boolean),
        ("include_topic_operations", types.Boolean),
        ("tags", types.TaggedFields),
    )


class DescribeTopic(api.Request[MetadataRequestV12]):
    """One topic's id and its partitions' leaders and replicas. Needs brokers of 3.1 or later."""

    API_KEY = 3

    def __init__(self, name: str) -> None:
        self._name = name

    def build(self, request_struct_class: type[MetadataRequestV12]) -> MetadataRequestV12:
        return request_struct_class([(uuid.UUID(int=0), self._name, {})], False, False, {})


class LogDirsResponse(api.Response):
    """Version 1."""

    API_KEY = 35
    API_VERSION = 1
    SCHEMA = types.Schema(
        ("throttle_time_ms", types.Int32),
        (
            "folders",
            types.Array(
                ("error_code", types.Int16),
                ("folder", types.String("utf-8")),
                (
                    "topics",
                    types.Array(
                        ("name", types.String("utf-8")),
                        (
                            "partitions",
                            types.Array(
                                ("partition", types.Int32),
                                ("size", types.Int64),
                                ("lag", types.Int64),
                                ("is_future", types.Boolean),
                            ),
                        ),
                    ),
                ),
            ),
        ),
    )


class LogDirsRequestV1(api.RequestStruct):
    """Partitions by topic."""

    API_KEY = 35
    API_VERSION = 1
    RESPONSE_TYPE = LogDirsResponse
    SCHEMA = types.Schema(
        ("topics", types.Array(("name", types.String("utf-8")), ("partitions", types.Array(types.Int32)))),
    )


class DescribeLogDirs(api.Request[LogDirsRequestV1]):
    """What one broker holds of these topics, in bytes."""

    API_KEY = 35

    def __init__(self, names: list[str], partitions: int) -> None:
        self._topics = [(name, list(range(partitions))) for name in names]

    def build(self, request_struct_class: type[LogDirsRequestV1]) -> LogDirsRequestV1:
        return request_struct_class(self._topics)
