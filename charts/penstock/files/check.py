"""What `helm test` asks of an installed release, step by step; the first that fails ends it with exit code 1.

Without `--pipeline` nothing is made and nothing is sent: objects are shown to the API, which says whether it would take them.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import ssl
import sys
import time
import urllib.error
import urllib.request
from typing import Any

ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
GROUP = "/apis/penstock.dev/v1alpha1"
KINDS = {"batchpipelines", "deadletterreplays"}
EXAMPLE = {
    "log": {"type": "Kafka", "kafka": {"bootstrapServers": ["kafka:9092"]}},
    "sinks": [{"name": "rows", "type": "Kafka", "kafka": {"bootstrapServers": ["kafka:9092"], "topic": "rows"}}],
}
LOOK_SECONDS = 1.0
GRANT_SECONDS = 30.0
"""Rights that were granted a moment ago may not be known to every API server."""


class CheckError(Exception):
    """The release isn't fit for use; the message says what to look at."""


class Api:
    """The cluster's API, as the pod's own account."""

    def __init__(self, server: str, account: pathlib.Path) -> None:
        self._server, self._account = server, account
        self._tls = ssl.create_default_context(cafile=str(account / "ca.crt"))

    def ask(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Status and answer. A body makes it a POST."""
        headers = {"Authorization": f"Bearer {(self._account / 'token').read_text()}", "Content-Type": "application/json"}
        until = time.monotonic() + GRANT_SECONDS
        while True:
            status, said = answered(self._server + path, body, headers, self._tls)
            if status != 403 or time.monotonic() >= until:
                return status, said
            time.sleep(LOOK_SECONDS)


def answered(
    url: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None, tls: ssl.SSLContext | None = None
) -> tuple[int, dict[str, Any]]:
    """Status and JSON answer of one request; an answer that is no JSON is {}."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json", **(headers or {})})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30, context=tls) as answer:  # noqa: S310 - addresses of the chart
            return answer.status, parsed(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, parsed(error.read())
    except OSError as error:
        raise CheckError(f"{url} does not answer: {error}") from error


def parsed(text: bytes) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def kinds_are_served(api: Api) -> str:
    status, said = api.ask(GROUP)
    missing = KINDS - {one["name"] for one in said.get("resources", ())}
    if missing:
        raise CheckError(f"the API does not serve {', '.join(sorted(missing))} ({status}): were the definitions installed?")
    return "both kinds are served"


def objects_are_judged(api: Api, namespace: str) -> str:
    place = f"{GROUP}/namespaces/{namespace}/batchpipelines?dryRun=All&fieldValidation=Strict"
    status, said = api.ask(place, pipeline(EXAMPLE))
    if status != 201:
        raise CheckError(f"a right pipeline is refused ({status}): {said.get('message', '')}")
    wrong = {**EXAMPLE, "log": {"type": "Kafka"}}
    status, said = api.ask(place, pipeline(wrong))
    if status != 422 or "spec.log" not in said.get("message", ""):
        raise CheckError(f"a pipeline without brokers is not refused at spec.log ({status}): {said.get('message', '')}")
    return "a right pipeline is taken, a wrong one refused at its field (neither was made)"


def pipeline(spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"generateName": "helm-test-"}
    return {"apiVersion": "penstock.dev/v1alpha1", "kind": "BatchPipeline", "metadata": metadata, "spec": spec}


def operator_is_ready(url: str, until: float) -> str:
    while True:
        try:
            status, why = answered(f"{url}/readyz")[0], ""
        except CheckError as error:
            status, why = 0, str(error)
        if status == 200:
            return "the operator is ready"
        if time.monotonic() >= until:
            raise CheckError(f"the operator is not ready: {why or f'{url}/readyz answers {status}'}")
        time.sleep(LOOK_SECONDS)


def read_by_lane(api: Api, place: str) -> dict[str, int]:
    status, found = api.ask(place)
    if status != 200:
        raise CheckError(f"there is no such pipeline to see ({status}): {found.get('message', '')}")
    told = found.get("status", {})
    ready = {one["type"]: one["status"] for one in told.get("conditions", ())}.get("Ready", "Unknown")
    if ready != "True":
        raise CheckError(f"the pipeline's Ready is {ready}: {told.get('message', '')}")
    return {lane["sink"]: int(lane.get("ledger", {}).get("events", {}).get("read", 0)) for lane in told.get("lanes", ())}


def event_is_found(api: Api, place: str, door: str, event: dict[str, Any], until: float) -> str:
    """By the counts of the pipeline's status: where others send too, one of theirs would do as well."""
    before = read_by_lane(api, place)
    if not before:
        raise CheckError("the pipeline's status has no lanes yet")
    status, said = answered(f"{door}/v1/events", event)
    if status != 202:
        raise CheckError(f"the event was not taken ({status}): {json.dumps(said)[:1000]}")
    while waiting := [lane for lane, count in read_by_lane(api, place).items() if count <= before.get(lane, 0)]:
        if time.monotonic() >= until:
            raise CheckError(f"the event was acknowledged, but is not in the ledger of {', '.join(waiting)}; look at its LAG")
        time.sleep(LOOK_SECONDS)
    return f"one event was acknowledged and is in the ledger of {', '.join(before)}"


def main() -> None:
    parser = argparse.ArgumentParser(description="What `helm test` asks of an installed release.")
    parser.add_argument("--server", default="https://kubernetes.default.svc")
    parser.add_argument("--account", type=pathlib.Path, default=ACCOUNT)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--operator", required=True, help="URL of its metrics")
    parser.add_argument("--pipeline", default="", help="NAMESPACE/NAME")
    parser.add_argument("--door", default="")
    parser.add_argument("--event", type=json.loads, default={})
    parser.add_argument("--timeout-seconds", type=float, default=180.0)
    told = parser.parse_args()
    api, until = Api(told.server, told.account), time.monotonic() + told.timeout_seconds
    try:
        say(kinds_are_served(api))
        say(objects_are_judged(api, told.namespace))
        say(operator_is_ready(told.operator, until))
        if told.pipeline:
            namespace, _, name = told.pipeline.partition("/")
            say(event_is_found(api, f"{GROUP}/namespaces/{namespace}/batchpipelines/{name}", told.door, told.event, until))
    except CheckError as error:
        say(f"FAILED: {error}")
        sys.exit(1)


def say(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
