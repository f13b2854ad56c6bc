"""Asking pods: real gRPC on the loopback, with stand-ins that know what a pod knows."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from penstock.v1 import control_pb2, control_pb2_grpc
from penstock_operator import actions, reconcile
from penstock_operator.edge import asking, tokens
from penstock_operator.resources import pods

_REF = reconcile.PipelineRef(namespace="web", name="clicks")
_TOKENS = tokens.Tokens((b"new" * 20, b"old" * 20))


class _Pod(control_pb2_grpc.ControlServicer):
    """Lets in who shows its token."""

    def __init__(self, token: str) -> None:
        self.token, self.state, self.told = token, "Running", list[str]()
        self.applied: list[control_pb2.ApplyRequest] = []

    def _check(self, context: Any) -> Any:
        shown = dict(context.invocation_metadata()).get("authorization")
        return shown == f"Bearer {self.token}"

    async def Status(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        if not self._check(context):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "who?")
        lane = control_pb2.LaneStatus(sink="warehouse", state=self.state, ledger=control_pb2.Ledger(events_read=7))
        if self.applied:
            lane.settings_version = self.applied[-1].settings_version
            lane.trouble.code = "CREDENTIALS_REJECTED"
        return control_pb2.StatusResponse(lifecycle="Running", log_id="7f", log_bytes=9, lanes=[lane])

    async def Apply(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        if not self._check(context):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "who?")
        self.applied.append(request)
        return control_pb2.ApplyResponse()

    async def SetLifecycle(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        if not self._check(context):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "who?")
        self.told.append(request.lifecycle)
        self.state = request.lifecycle
        return control_pb2.SetLifecycleResponse(lifecycle=request.lifecycle)


def _manifest(name: str = "b-0") -> dict[str, Any]:
    labels = {"penstock.dev/role": "batcher"}
    status = {"podIP": "127.0.0.1", "phase": "Running"}
    return {"metadata": {"name": name, "uid": name, "labels": labels}, "status": status}


class _World:
    """One pod that answers, at a port that was free, and an asker with a clock of the test's own."""

    def __init__(self, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pod, self.now, self.changed = _Pod(token), 100.0, list[reconcile.PipelineRef]()
        self.server = grpc.aio.server()
        control_pb2_grpc.add_ControlServicer_to_server(self.pod, self.server)
        monkeypatch.setattr(pods, "CONTROL", self.server.add_insecure_port("127.0.0.1:0"))
        self.asker = asking.Asker(_TOKENS, self.changed.append, lambda: self.now)

    async def round(self) -> None:
        await self.asker._round(_REF)

    async def __aenter__(self) -> _World:
        await self.server.start()
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.asker.close()
        await self.server.stop(None)


@pytest.mark.parametrize("which", [0, 1])
async def test_a_pod_is_asked_with_the_token_it_knows(which: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches pods of the time before a new key that fall silent."""
    async with _World(_TOKENS.all(_REF)[which], monkeypatch) as world:
        assert world.asker.reports(_REF, [_manifest()]) == ()
        await world.round()
        (said,) = world.asker.reports(_REF, [_manifest()])
        assert (said.pod, said.role, said.log_id, said.lanes[0].ledger.read) == ("b-0", "batcher", "7f", 7)


async def test_a_change_of_state_is_told_at_once_and_counts_every_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a look for each answer of each pod, and an open circuit that waits for half a minute."""
    async with _World(_TOKENS.all(_REF)[0], monkeypatch) as world:
        world.asker.reports(_REF, [_manifest()])
        looks = []
        for state, later in (("Running", 0), ("Running", 10), ("Halted", 10), ("Halted", 10), ("Halted", 25)):
            world.pod.state, world.now = state, world.now + later
            await world.round()
            looks.append(len(world.changed))
        assert looks == [1, 1, 2, 2, 3]


async def test_what_a_silent_pod_said_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a pod that hangs and is shown as running for ever, and a silence of which nobody tells how long it lasts."""
    async with _World(_TOKENS.all(_REF)[0], monkeypatch) as world:
        world.asker.reports(_REF, [_manifest()])
        await world.round()
        await world.server.stop(None)
        before = len(world.changed)
        world.now += asking.STALE_SECONDS + 1
        await world.round()
        assert world.asker.reports(_REF, [_manifest()]) == ()
        assert len(world.changed) == before + 1
        for later in (10, asking.EVERY_SECONDS * 2 + 1):
            world.now += later
            await world.round()
        assert len(world.changed) == before + 2


async def test_a_stranger_s_token_gets_no_report_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a pod with somebody else's Secret that stops the round."""
    async with _World("somebody else's", monkeypatch) as world:
        world.asker.reports(_REF, [_manifest()])
        await world.round()
        assert world.asker.reports(_REF, [_manifest()]) == ()


async def test_a_pod_that_goes_while_it_is_asked_ends_no_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches the end of the whole operator: a channel that is closed cancels its calls as if the asker itself were ended."""
    async with _World(_TOKENS.all(_REF)[0], monkeypatch) as world:
        world.asker.reports(_REF, [_manifest()])
        asked, ending = asyncio.Event(), asyncio.Event()

        async def hang(request: Any, context: Any) -> Any:
            asked.set()
            await ending.wait()
            return control_pb2.StatusResponse()

        monkeypatch.setattr(world.pod, "Status", hang)
        world.server = grpc.aio.server()
        control_pb2_grpc.add_ControlServicer_to_server(world.pod, world.server)
        monkeypatch.setattr(pods, "CONTROL", world.server.add_insecure_port("127.0.0.1:0"))
        await world.server.start()
        world.asker.forget(_REF)
        world.asker.reports(_REF, [_manifest()])
        round_ = asyncio.create_task(world.round())
        await asked.wait()
        world.asker.forget(_REF)
        await round_
        ending.set()


async def test_a_pod_that_is_told_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a pause that is told again and again, because the last answer is from before it."""
    async with _World(_TOKENS.all(_REF)[0], monkeypatch) as world:
        world.asker.reports(_REF, [_manifest()])
        await world.asker.tell(_REF, actions.Tell(pod="b-0", address="", sink="warehouse", lifecycle="Paused"))
        (said,) = world.asker.reports(_REF, [_manifest()])
        assert (world.pod.told, said.lanes[0].state) == (["Paused"], "Paused")


async def test_settings_and_an_open_circuit_reach_the_pod_as_they_were_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a push that leaves out what tells the new from the old, and a lane that an open circuit's word sets back."""
    async with _World(_TOKENS.all(_REF)[0], monkeypatch) as world:
        world.asker.reports(_REF, [_manifest()])
        follow = actions.Follow(pod="b-0", address="", sink="warehouse", settings="{}", version="v", generation=4)
        await world.asker.tell(_REF, follow)
        (said,) = world.asker.reports(_REF, [_manifest()])
        assert said.lanes[0].settings_version == "v"
        assert said.lanes[0].trouble is not None
        assert said.lanes[0].trouble.is_rejection
        await world.asker.tell(_REF, actions.OpenCircuit(pod="b-0", address="", sink="warehouse", why="2 of 3"))
        assert world.pod.applied == [
            control_pb2.ApplyRequest(sink="warehouse", settings="{}", settings_version="v", generation=4),
            control_pb2.ApplyRequest(sink="warehouse", open_because="2 of 3"),
        ]


async def test_pods_that_are_gone_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches channels that pile up with each roll-out."""
    async with _World(_TOKENS.all(_REF)[0], monkeypatch) as world:
        world.asker.reports(_REF, [_manifest()])
        world.asker.reports(_REF, [])
        assert dict(world.asker._pods) == {}
        await asyncio.gather(*world.asker._closing)


def test_tokens_are_the_same_after_a_restart_and_differ_between_pipelines() -> None:
    """Catches tokens that change with each start, and one pipeline that may steer another."""
    other = reconcile.PipelineRef(namespace="web", name="orders")
    again = tokens.Tokens((b"new" * 20,))
    assert again.all(_REF)[0] == _TOKENS.all(_REF)[0]
    assert len({*_TOKENS.all(_REF), *_TOKENS.all(other)}) == 4
