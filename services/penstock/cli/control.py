"""Talking to a running pipeline through its control socket, or to its processes at addresses, with gRPC's answers turned into
ours."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click
import grpc

from penstock.cli import exits, peering
from penstock.ingest import secret
from penstock.machine import directory
from penstock.machine.peers import dialling, gate
from penstock.v1 import control_pb2_grpc

TIMEOUT_SECONDS = 5.0
_OPTIONS = (("grpc.max_receive_message_length", 64 << 20),)


class NotRunningError(Exception):
    """Nothing answers on the control socket, or at the address."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """One process of a pipeline, and what it is shown."""

    address: str
    peers: gate.Peers

    def __str__(self) -> str:
        return self.address


Place = directory.DataDirectory | Remote | str
"""A data directory, or a process; by its address alone where it asks for nothing."""


def find(data: pathlib.Path | None) -> directory.DataDirectory:
    """The data directory a command means, or the error that says how to name it."""
    try:
        return directory.find(data)
    except directory.DirectoryError as error:
        raise exits.Unreachable(str(error)) from error


def places(data: pathlib.Path | None, at: Sequence[Remote]) -> list[Place]:
    """Where a command asks: at each address, or where none is given in the data directory."""
    return list(at) or [find(data)]


def at_option(command: Callable[..., None]) -> Callable[..., None]:
    """`at`: processes at addresses, of a pipeline that runs as several."""

    @functools.wraps(command)
    def asked(*, at: tuple[str, ...], token_file: pathlib.Path | None, tls_dir: pathlib.Path | None, **rest: Any) -> None:
        addresses = [address.strip() for text in at for address in text.split(",") if address.strip()]
        peers = gate.Peers(gate.Files(token=token_file, tls=tls_dir))
        try:
            if addresses:
                peers.load()
        except secret.SecretError as error:
            raise exits.Invalid(str(error)) from error
        command(at=tuple(Remote(address=address, peers=peers) for address in addresses), **rest)

    told = "Ask the process at this control address instead; several with commas, or several times."
    option = click.option("--at", multiple=True, metavar="HOST:PORT,...", help=told)
    return option(peering.token_option(peering.tls_option(asked)))


def file_options(command: Callable[..., None]) -> Callable[..., None]:
    """`file` and `secrets_path`: a pipeline whose log any process may open."""
    given = click.option(
        "-f",
        "--file",
        type=click.Path(exists=True, dir_okay=False, path_type=pathlib.Path),
        help="A pipeline whose log is in Kafka: asked at its brokers, without a data directory.",
    )
    kept = click.option(
        "--secrets",
        "secrets_path",
        type=click.Path(path_type=pathlib.Path),
        default=pathlib.Path("secrets"),
        help="With -f: folder of <name>/<key> files.  [default: secrets]",
    )
    return given(kept(command))


@contextlib.contextmanager
def connected(where: Place) -> Iterator[control_pb2_grpc.ControlStub]:
    """A stub for the pipeline that runs in this directory, or for the process that is asked at this address.

    Raises NotRunningError, Unreachable, or Invalid with its own words.
    """
    with _channel(where) as channel:
        try:
            yield control_pb2_grpc.ControlStub(channel)
        except grpc.RpcError as error:
            raise _translated(error, _place(where)) from error


def _place(where: Place) -> str:
    if isinstance(where, directory.DataDirectory):
        return f"in {where.path}"
    plain = isinstance(where, Remote) and where.peers.pem is None
    return f"at {where}" + (" in plain text (if it speaks TLS, give --tls-dir)" if plain else "")


def _channel(where: Place) -> grpc.Channel:
    if isinstance(where, directory.DataDirectory):
        return grpc.insecure_channel(where.control_address, options=_OPTIONS)
    if isinstance(where, str):
        return grpc.insecure_channel(where, options=_OPTIONS)
    pem, token = where.peers.pem, where.peers.token
    if pem is None:
        channel = grpc.insecure_channel(where.address, options=_OPTIONS)
    else:
        channel = grpc.secure_channel(where.address, pem.credentials(), options=_OPTIONS)
    return channel if token is None else grpc.intercept_channel(channel, dialling.Shower(token))


def _translated(error: grpc.RpcError, place: str) -> Exception:
    code, detail = error.code(), error.details() or ""
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            tls = f" ({detail.rpartition('; ')[2]})" if "ssl" in detail.lower() or "handshak" in detail.lower() else ""
            return NotRunningError(f"no pipeline runs {place}{tls}")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return exits.Unreachable(f"the pipeline {place} does not answer in time")
        case grpc.StatusCode.UNAUTHENTICATED:
            return exits.Invalid(f"the process {place} takes nobody without its token: {detail}", "give it with --token-file")
        case grpc.StatusCode.NOT_FOUND | grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.FAILED_PRECONDITION:
            return exits.Invalid(detail)
        case _:
            return exits.Unreachable(f"the pipeline {place} answers {code.name}: {detail}")
