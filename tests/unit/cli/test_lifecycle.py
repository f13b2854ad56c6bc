"""Pausing and resuming say what they asked for and what came of it."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest
from click.testing import CliRunner

from penstock.cli import main
from penstock.machine import directory
from penstock.v1 import control_pb2, control_pb2_grpc


class _Lanes(control_pb2_grpc.ControlServicer):
    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def SetLifecycle(self, request, context):  # noqa: N802
        self.asked.append((request.sink, request.lifecycle))
        if request.sink == "nowhere":
            context.abort(grpc.StatusCode.NOT_FOUND, 'no sink "nowhere" here; there are: warehouse')
        return control_pb2.SetLifecycleResponse(lifecycle=request.lifecycle)


@pytest.fixture
def running() -> Iterator[tuple[pathlib.Path, _Lanes]]:
    with tempfile.TemporaryDirectory() as path:
        data = pathlib.Path(path)
        (data / "log.db").touch()
        lanes, server = _Lanes(), grpc.server(futures.ThreadPoolExecutor(1))
        control_pb2_grpc.add_ControlServicer_to_server(lanes, server)
        server.add_insecure_port(directory.DataDirectory(data).control_address)
        server.start()
        yield data, lanes
        server.stop(None).wait()


@pytest.mark.parametrize(
    ("arguments", "asked", "said"),
    [
        (["pause"], ("", "Paused"), "all lanes: Paused"),
        (["resume", "warehouse"], ("warehouse", "Running"), "warehouse: Running"),
    ],
)
def test_the_lanes_meant_are_the_lanes_asked(running, arguments, asked, said):
    """Catches a resume that pauses, and a sink's name that is dropped so that every lane is held."""
    data, lanes = running
    result = CliRunner().invoke(main.cli, [*arguments, "--data", str(data)])
    assert (result.exit_code, lanes.asked) == (0, [asked])
    assert result.output.strip() == said


def test_a_sink_that_is_not_there_is_said_so(running):
    """Catches a typo that looks like success."""
    data, _ = running
    result = CliRunner().invoke(main.cli, ["pause", "nowhere", "--data", str(data)], standalone_mode=True)
    assert result.exit_code == 1
    assert "there are: warehouse" in result.output


def test_nothing_running_is_an_error(tmp_path):
    """Catches a pause that is believed although nobody heard it."""
    (tmp_path / "log.db").touch()
    result = CliRunner().invoke(main.cli, ["pause", "--data", str(tmp_path)], standalone_mode=True)
    assert result.exit_code == 3
    assert "no pipeline runs" in result.output
