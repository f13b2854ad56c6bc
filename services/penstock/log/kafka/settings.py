"""What a Kafka log must be told, read once at the entry point, with the bounds that hold whatever happens to the brokers."""

from __future__ import annotations

import dataclasses
import enum
import ssl
from collections.abc import Callable

# The largest block, and as much again as its headers and Kafka's own framing can need.
RECORD_BYTES = 8 << 20
MESSAGE_BYTES = RECORD_BYTES + (64 << 10)
METADATA_BYTES = 3_500


class Mechanism(enum.Enum):
    """How a client shows who it is."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A user and its password, as read from mounted files."""

    mechanism: Mechanism
    user: str
    password: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """`tls` None is plain text: then no password should travel. `renewed` tells what it has become since; None: it stays."""

    tls: ssl.SSLContext | None = None
    login: Login | None = None
    renewed: Callable[[], Security] | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def protocol(self) -> str:
        """As Kafka's clients call it."""
        return ("SASL_" if self.login else "") + ("SSL" if self.tls else "PLAINTEXT")

    def now(self) -> Security:
        """As a connection that is made now is to show it. The protocol stays."""
        return self.renewed() if self.renewed else self


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds after which waiting ends. Together they let a lane go on within 30 s of a member's death.

    The revocation's must be below the rebalance's, or the group goes on without this member.
    """

    request: float = 20.0
    delivery: float = 30.0
    session: float = 10.0
    heartbeat: float = 3.0
    rebalance: float = 20.0
    revocation: float = 12.0
    progress: float = 30.0
    close: float = 10.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`prefix` begins the names of all topics and groups; `max_bytes` is `retention.maxBytes`, None is no bound."""

    bootstrap: str
    prefix: str
    partitions: int
    replication: int = 3
    min_in_sync: int = 2
    max_bytes: int | None = None
    security: Security = dataclasses.field(default_factory=Security)
    patience: Patience = dataclasses.field(default_factory=Patience)
