"""What the webhook lets through although it can't tell, and what it answers to whom."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from tests.unit.operator import cluster

from penstock_operator import settings
from penstock_operator.edge import sql, webhook

_SQL = {"schema": {"fields": [{"name": "id", "type": "String"}]}, "transform": {"select": [{"name": "id", "value": "lower(id)"}]}}
_SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)")
_DIES = (sys.executable, "-c", "raise SystemExit(9)")


def _asked(operation: str = "CREATE", **spec: Any) -> dict[str, Any]:
    return {"uid": "1", "operation": operation, "namespace": "web", "object": cluster.pipeline(**spec)}


async def _verdict(asked: dict[str, Any], *command: str, busy: bool = False) -> dict[str, Any]:
    checker = sql.Checker(lambda _: None, asyncio.get_running_loop().time, command)
    if busy:
        checker._running = {str(number): asyncio.create_task(asyncio.sleep(600)) for number in range(32)}  # type: ignore[misc]
    told = settings.Settings(images=cluster.SETTINGS.images, webhook_address="127.0.0.1:0")
    try:
        return await webhook.Webhook(told, checker, patience_seconds=0.05 if command == _SLEEPS else 120.0).verdict(asked)
    finally:
        await checker.close()


@pytest.mark.parametrize(("command", "busy"), [(_SLEEPS, False), (_DIES, False), (_DIES, True)])
async def test_what_it_can_not_tell_is_let_through(command: tuple[str, ...], *, busy: bool) -> None:
    """Catches an apply that fails because a compiler was slow or died, or that waits behind somebody's thousand others."""
    assert (await _verdict(_asked(**_SQL), *command, busy=busy))["allowed"]


async def test_a_refusal_names_each_field() -> None:
    """Catches a message without the place, and causes that a client can't read."""
    said = await _verdict(_asked(log={"type": "Embedded"}, deadLetters={"retentionHours": 0}))
    assert (said["allowed"], said["status"]["reason"]) == (False, "Invalid")
    assert {one["field"] for one in said["status"]["details"]["causes"]} == {"spec.deadLetters.retentionHours"}
    said = await _verdict(_asked(log={"type": "Embedded"}))
    assert said["status"]["message"].startswith("spec.log.type: ")


async def test_an_object_that_goes_is_let_go() -> None:
    """Catches a pipeline that can't be deleted because it is wrong."""
    assert (await _verdict(_asked("DELETE", log=None)))["allowed"]
