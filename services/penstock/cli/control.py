"""Talking to a running pipeline through its control socket, or to one of its processes at an address, with gRPC's answers
turned into ours."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Sequence

import click
import grpc

from penstock.cli import exits
from penstock.machine import directory
from penstock.v1 import control_pb2_grpc

TIMEOUT_SECONDS = 5.0
_OPTIONS = (("grpc.max_receive_message_length", 64 << 20),)


class NotRunningError(Exception):
    """Nothing answers on the control socket, or at the address."""


def find(data: pathlib.Path | None) -> directory.DataDirectory:
    """The data directory a command means, or the error that says how to name it."""
    try:
        return directory.find(data)
    except directory.DirectoryError as error:
        raise exits.Unreachable(str(error)) from error


def places(data: pathlib.Path | None, at: Sequence[str]) -> list[directory.DataDirectory | str]:
    """Where a command asks: at each address, or where none is given in the data directory."""
    return list(at) or [find(data)]


def at_option(command: Callable[..., None]) -> Callable[..., None]:
    """`--at`, several times, for a pipeline that runs as several processes."""
    told = "Ask the process at this control address instead; several times for several processes."
    return click.option("--at", multiple=True, metavar="HOST:PORT", help=told)(command)


@contextlib.contextmanager
def connected(where: directory.DataDirectory | str) -> Iterator[control_pb2_grpc.ControlStub]:
    """A stub for the pipeline that runs in this directory, or for the process that is asked at this address.

    Raises NotRunningError, Unreachable, or Invalid with its own words.
    """
    address = where if isinstance(where, str) else where.control_address
    with grpc.insecure_channel(address, options=_OPTIONS) as channel:
        try:
            yield control_pb2_grpc.ControlStub(channel)
        except grpc.RpcError as error:
            raise _translated(error, f"at {where}" if isinstance(where, str) else f"in {where.path}") from error


def _translated(error: grpc.RpcError, place: str) -> Exception:
    code, detail = error.code(), error.details() or ""
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return NotRunningError(f"no pipeline runs {place}")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return exits.Unreachable(f"the pipeline {place} does not answer in time")
        case grpc.StatusCode.NOT_FOUND | grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.FAILED_PRECONDITION:
            return exits.Invalid(detail)
        case _:
            return exits.Unreachable(f"the pipeline {place} answers {code.name}: {detail}")
