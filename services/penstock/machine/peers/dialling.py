"""A client's channel to another process of the pipeline: it shows the token of the moment with each call, and is made anew when
the certificates have changed.

gRPC's own channels keep the credentials they were made with; calls under way end on the channel they began on.
"""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import grpc

from penstock.ingest import secret as secrets
from penstock.machine.peers import token

Options = Sequence[tuple[str, Any]]

_CLOSE_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pem:
    """What a client trusts and shows; None trusts the system's authorities, or shows nothing."""

    authority: bytes | None
    certificate: bytes | None
    key: bytes | None = dataclasses.field(repr=False)

    def credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.authority, self.key, self.certificate)


def read(folder: pathlib.Path) -> Pem:
    """`ca.crt`, and `tls.crt` with `tls.key` where both are there. Raises SecretError."""
    # A mounted Secret changes by one link: read through it, all files are of one version.
    version = (folder / "..data").resolve() if (folder / "..data").exists() else folder
    try:
        found = {name: (version / name).read_bytes() for name in ("ca.crt", "tls.crt", "tls.key") if (version / name).is_file()}
    except OSError as error:
        raise secrets.SecretError(f"{folder}: {error.strerror or error}") from error
    if not found:
        raise secrets.SecretError(f"{folder}: neither ca.crt nor tls.crt with tls.key is there")
    if ("tls.crt" in found) != ("tls.key" in found):
        raise secrets.SecretError(f"{folder}: tls.crt and tls.key belong together, and one of them is missing")
    if "ca.crt" in found:
        _check_authority(folder, found["ca.crt"])
    return Pem(authority=found.get("ca.crt"), certificate=found.get("tls.crt"), key=found.get("tls.key"))


def _check_authority(folder: pathlib.Path, text: bytes) -> None:
    try:
        ssl.create_default_context(cadata=text.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise secrets.SecretError(f"{folder}/ca.crt: not certificates in PEM form: {error}") from error


class _Shown(Protocol):
    """What every call asks for anew."""

    @property
    def token(self) -> token.TokenFile | None: ...

    @property
    def pem(self) -> Pem | None: ...


class Channel:
    """In the place of a `grpc.aio.Channel`, as far as generated stubs and `SinkChannel` go."""

    def __init__(self, address: str, options: Options, shown: _Shown) -> None:
        self._address, self._options, self._shown = address, options, shown
        self._pem = shown.pem
        self._channel = self._dialled()
        self._closing: set[asyncio.Task[None]] = set()

    def _dialled(self) -> grpc.aio.Channel:
        if self._pem is None:
            return grpc.aio.insecure_channel(self._address, options=self._options)
        return grpc.aio.secure_channel(self._address, self._pem.credentials(), options=self._options)

    def _current(self) -> grpc.aio.Channel:
        if self._shown.pem != self._pem:
            old, self._pem = self._channel, self._shown.pem
            self._channel = self._dialled()
            closing = asyncio.ensure_future(old.close(_CLOSE_SECONDS))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        return self._channel

    def unary_unary(self, *told: Any, **named: Any) -> Callable[..., Any]:
        return self._caller("unary_unary", told, named)

    def unary_stream(self, *told: Any, **named: Any) -> Callable[..., Any]:
        return self._caller("unary_stream", told, named)

    def stream_unary(self, *told: Any, **named: Any) -> Callable[..., Any]:
        return self._caller("stream_unary", told, named)

    def stream_stream(self, *told: Any, **named: Any) -> Callable[..., Any]:
        return self._caller("stream_stream", told, named)

    def _caller(self, kind: str, told: Sequence[Any], named: dict[str, Any]) -> Callable[..., Any]:
        def call(*arguments: Any, metadata: Sequence[tuple[str, str]] | None = None, **more: Any) -> Any:
            channel = self._current()
            found = (*(metadata or ()), *headers(self._shown.token))
            return getattr(channel, kind)(*told, **named)(*arguments, metadata=found, **more)

        return call

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Of the connection that the next call would take."""
        return self._current().get_state(try_to_connect)

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)
        for closing in self._closing:
            closing.cancel()


def headers(shown: token.TokenFile | None) -> Iterator[tuple[str, str]]:
    """The metadata of a call."""
    if shown is not None:
        yield ("authorization", f"Bearer {shown.shown}")


class Shower(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
):
    """The same for a command's own channel, which lives for one question."""

    def __init__(self, shown: token.TokenFile) -> None:
        self._shown = shown

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        """See grpc.UnaryUnaryClientInterceptor."""
        return continuation(self._with_token(details), request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        """See grpc.UnaryStreamClientInterceptor."""
        return continuation(self._with_token(details), request)

    def _with_token(self, details: Any) -> Any:
        return details._replace(metadata=[*(details.metadata or ()), *headers(self._shown)])
