"""Talking to a running pipeline through its control socket, with gRPC's answers turned into ours."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

import grpc

from penstock.cli import exits
from penstock.machine import directory
from penstock.v1 import control_pb2_grpc

TIMEOUT_SECONDS = 5.0
_OPTIONS = (("grpc.max_receive_message_length", 64 << 20),)


class NotRunningError(Exception):
    """Nothing answers on the control socket."""


def find(data: pathlib.Path | None) -> directory.DataDirectory:
    """The data directory a command means, or the error that says how to name it."""
    try:
        return directory.find(data)
    except directory.DirectoryError as error:
        raise exits.Unreachable(str(error)) from error


@contextlib.contextmanager
def connected(where: directory.DataDirectory) -> Iterator[control_pb2_grpc.ControlStub]:
    """A stub for the pipeline that runs in this directory. Raises NotRunningError, Unreachable, or Invalid with its own words."""
    with grpc.insecure_channel(where.control_address, options=_OPTIONS) as channel:
        try:
            yield control_pb2_grpc.ControlStub(channel)
        except grpc.RpcError as error:
            raise _translated(error, where) from error


def _translated(error: grpc.RpcError, where: directory.DataDirectory) -> Exception:
    code, detail = error.code(), error.details() or ""
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return NotRunningError(f"no pipeline runs in {where.path}")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return exits.Unreachable(f"the pipeline in {where.path} does not answer in time")
        case grpc.StatusCode.NOT_FOUND | grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.FAILED_PRECONDITION:
            return exits.Invalid(detail)
        case _:
            return exits.Unreachable(f"the pipeline in {where.path} answers {code.name}: {detail}")
