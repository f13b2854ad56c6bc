"""The way to a pipeline's gRPC door: its address, and what it takes to be let in."""

from __future__ import annotations

import dataclasses

import grpc
import grpc.aio

_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # else a new channel inherits the old one's connection back-off
    ("grpc.max_receive_message_length", 64 << 20),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """`tls` False speaks plain text; with it, `ca` in PEM is who the door's certificate must come from (empty: the system's).

    `token` is sent with every call; over plain text anybody on the way can read it.
    """

    address: str
    tls: bool = False
    ca: bytes = b""
    token: str = ""

    def channel(self) -> grpc.aio.Channel:
        """A new connection."""
        if not self.tls:
            return grpc.aio.insecure_channel(self.address, options=_OPTIONS)
        return grpc.aio.secure_channel(self.address, grpc.ssl_channel_credentials(self.ca or None), options=_OPTIONS)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with each call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()
