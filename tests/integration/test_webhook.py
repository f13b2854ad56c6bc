"""The validating webhook as the chart registers it, asked by a real API server."""

from __future__ import annotations

import asyncio
import base64
import json
import pathlib
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from e2e.cluster import shell
from tests.integration import chart, operating
from tests.servers import helm, kubernetes
from tests.unit.operator import cluster as examples

from penstock_operator import settings
from penstock_operator.edge import sql, webhook

_SCHEMA = {"fields": [{"name": "id", "type": "String"}]}


class _World:
    """A namespace whose pipelines are looked at before they are stored."""

    def __init__(self, server: kubernetes.Kubernetes, namespace: str) -> None:
        self.server, self.namespace = server, namespace

    async def apply(self, name: str = "clicks", **spec: Any) -> str:
        """Empty, or why it was refused."""
        made = examples.pipeline(**spec)
        made["metadata"] = {"name": name, "namespace": self.namespace}
        try:
            await asyncio.to_thread(self.server.kubectl, "apply", "--server-side", "-f", "-", stdin=json.dumps(made))
        except shell.CommandError as error:
            return str(error)
        return ""


def _certificate(server: kubernetes.Kubernetes, folder: pathlib.Path) -> pathlib.Path:
    """That of the API server: it is good for the loopback."""
    folder.mkdir()
    for end in ("crt", "key"):
        shutil.copy(server.plan.identities / f"apiserver.{end}", folder / f"tls.{end}")
    return folder


def _registered(program: helm.Helm, address: str, authority: bytes, namespace: str) -> dict[str, Any]:
    """The chart's registration, at an address of this test's own."""
    rendered = chart.rendered(program, webhook={"enabled": True}, watchNamespaces=[namespace])
    (made,) = chart.of_kind(rendered, "ValidatingWebhookConfiguration")
    found: dict[str, Any] = made["webhooks"][0]
    found["clientConfig"] = {"url": f"https://{address}{webhook.PATH}", "caBundle": base64.b64encode(authority).decode()}
    # What is away is let through; here it is to be seen.
    found["failurePolicy"] = "Fail"
    return {**made, "metadata": {"name": f"test-{namespace}"}}


@pytest_asyncio.fixture
async def world(
    kubernetes_server: kubernetes.Kubernetes, kubernetes_namespace: str, helm_program: helm.Helm, tmp_path: pathlib.Path
) -> AsyncIterator[_World]:
    server = kubernetes_server
    told = settings.Settings(
        images=examples.SETTINGS.images,
        webhook_address="127.0.0.1:0",
        webhook_certificate=_certificate(server, tmp_path / "webhook"),
    )
    checker = sql.Checker(lambda _: None, asyncio.get_running_loop().time)
    served = webhook.Webhook(told, checker, patience_seconds=120.0)
    await served.start()
    made = _registered(helm_program, served.address, server.authority.read_bytes(), kubernetes_namespace)
    made["webhooks"][0]["timeoutSeconds"] = 30
    try:
        await asyncio.to_thread(server.kubectl, "apply", "--server-side", "-f", str(operating.DEFINITIONS))
        await asyncio.to_thread(server.kubectl, "apply", "-f", "-", stdin=json.dumps(made))
        here = _World(server, kubernetes_namespace)
        await _until_asked(here)
        yield here
    finally:
        await asyncio.to_thread(server.kubectl, "delete", "validatingwebhookconfiguration", made["metadata"]["name"])
        await served.close()
        await checker.close()


async def _until_asked(here: _World) -> None:
    """The API server learns of a registration a moment after it has taken it."""
    for number in range(200):
        if await here.apply(f"probe-{number}", log={"type": "Embedded"}):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the webhook is never asked")


async def test_what_can_not_run_is_refused_with_its_field_and_what_can_is_stored(world: _World) -> None:
    """Catches an object that is stored to be refused a moment later, a message that doesn't name the expression, and a webhook
    that refuses what it was not asked about."""
    bad = {"schema": _SCHEMA, "transform": {"select": [{"name": "id", "value": "lower(nobody)"}]}}
    said = await world.apply(**bad)
    assert 'spec.transform.select[0].value: "lower(nobody)" unknown column "nobody"' in said
    assert "columns here: id" in said
    assert await world.apply(schema=_SCHEMA, transform={"select": [{"name": "id", "value": "lower(id)"}]}) == ""
    # An edit that only names the log less than before: the operator knows the one that was chosen.
    assert await world.apply(log=None, schema=_SCHEMA) == ""
    assert "spec.log" in await world.apply("other", log=None)
    metadata = {"url": "http://169.254.169.254/latest", "database": "d", "table": "t"}
    said = await world.apply("other", sinks=[{"name": "s", "type": "ClickHouse", "clickHouse": metadata}])
    assert "spec.sinks[0].clickHouse.url" in said
    said = await asyncio.to_thread(
        world.server.kubectl, "label", "batchpipeline", "clicks", "a=b", f"--namespace={world.namespace}"
    )
    assert "labeled" in said
