"""Several brokers that exist only in memory and fail on demand: librdkafka's mock cluster, called through ctypes.

For errors that a real broker gives only under conditions no test can make. Groups of more than one member don't work in it.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import pathlib
from collections.abc import Iterator, Sequence

import confluent_kafka

_ERROR_BYTES = 512
_PRODUCER = 0


class Api(enum.IntEnum):
    """Requests, as the protocol numbers them."""

    PRODUCE = 0
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    HEARTBEAT = 12


class MockKafka:
    """`bootstrap` until it is closed by `mock_kafka`."""

    def __init__(self, library: ctypes.CDLL, cluster: ctypes.c_void_p) -> None:
        self._library = library
        self._cluster = cluster
        self.bootstrap = library.rd_kafka_mock_cluster_bootstraps(cluster).decode()

    def create(self, topic: str, partitions: int) -> None:
        _check(self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 3))

    def fail_next(self, api: Api, codes: Sequence[int]) -> None:
        """The next requests of this kind are answered with these errors, one each."""
        array = (ctypes.c_int * len(codes))(*codes)
        self._library.rd_kafka_mock_push_request_errors_array(
            self._cluster, ctypes.c_int16(api), ctypes.c_size_t(len(codes)), array
        )

    def lead(self, topic: str, partition: int, broker: int) -> None:
        """Brokers are numbered from 1."""
        _check(self._library.rd_kafka_mock_partition_set_leader(self._cluster, topic.encode(), partition, broker))

    def coordinate(self, group: str, broker: int) -> None:
        _check(self._library.rd_kafka_mock_coordinator_set(self._cluster, b"group", group.encode(), broker))


@contextlib.contextmanager
def mock_kafka(brokers: int = 3) -> Iterator[MockKafka]:
    """Ends with the block."""
    library = _library()
    text = ctypes.create_string_buffer(_ERROR_BYTES)
    client = ctypes.c_void_p(library.rd_kafka_new(_PRODUCER, ctypes.c_void_p(library.rd_kafka_conf_new()), text, _ERROR_BYTES))
    cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(client, brokers))
    try:
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0)
        yield MockKafka(library, cluster)
    finally:
        library.rd_kafka_mock_cluster_destroy(cluster)
        library.rd_kafka_destroy(client)


def _library() -> ctypes.CDLL:
    [path] = (pathlib.Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs").glob("librdkafka-*")
    library = ctypes.CDLL(str(path))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
        getattr(library, name).restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    return library


def _check(code: int) -> None:
    if code:
        raise RuntimeError(f"the mock cluster answered {code}")
