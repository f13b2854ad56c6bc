"""What `helm test` asks of an installed release, step by step; the first that fails ends it with exit code 1.

With `--own` a pipeline of the test's own is made over the release's default log, with this pod as its store, and deleted at the
end; with `--pipeline` one event is sent to a pipeline that is there. With neither nothing is made and nothing is sent.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import pathlib
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
GROUP = "/apis/penstock.dev/v1alpha1"
KINDS = {"batchpipelines", "deadletterreplays"}
EXAMPLE = {
    "log": {"type": "Kafka", "kafka": {"bootstrapServers": ["kafka:9092"]}},
    "sinks": [{"name": "rows", "type": "Kafka", "kafka": {"bootstrapServers": ["kafka:9092"], "topic": "rows"}}],
}
NO_EVENT = "SKIPPED: no event is sent, for want of a log: give the release one (value `log`), or a pipeline (`test.pipeline`)"
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

    def ask(self, path: str, body: dict[str, Any] | None = None, method: str = "") -> tuple[int, dict[str, Any]]:
        """Status and answer. A body makes it a POST where no method is named."""
        headers = {"Authorization": f"Bearer {(self._account / 'token').read_text()}", "Content-Type": "application/json"}
        until = time.monotonic() + GRANT_SECONDS
        while True:
            status, said = answered(self._server + path, body, headers, self._tls, method)
            if status != 403 or time.monotonic() >= until:
                return status, said
            time.sleep(LOOK_SECONDS)


def answered(
    url: str,
    body: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    method: str = "",
) -> tuple[int, dict[str, Any]]:
    """Status and JSON answer of one request; an answer that is no JSON is {}."""
    data = None if body is None else json.dumps(body).encode()
    told = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data=data, headers=told, method=method or None)  # noqa: S310
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


class Store(http.server.BaseHTTPRequestHandler):
    """What the pipeline of the test's own lands in: this process."""

    landed: list[bytes]

    def do_POST(self) -> None:
        self.landed.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """The test says what it has found."""


@contextlib.contextmanager
def store(port: int) -> Iterator[tuple[int, list[bytes]]]:
    """The port in use, and the bodies that came."""
    landed: list[bytes] = []
    with http.server.ThreadingHTTPServer(("", port), type("OwnStore", (Store,), {"landed": landed})) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port, landed
        finally:
            server.shutdown()
            thread.join()


def own_pipeline(name: str, url: str) -> dict[str, Any]:
    """As small as one can be, over the log that the release gives to pipelines that name none."""
    spec = {
        "source": {"type": "Ingest", "ingest": {"replicas": {"min": 1, "max": 1}}},
        "schema": {"fields": [{"name": "id", "type": "String", "required": True}]},
        "sinks": [{"name": "check", "type": "HTTP", "http": {"url": url}, "batching": {"static": {"lingerMilliseconds": 100}}}],
    }
    return {**pipeline(spec), "metadata": {"name": name}}


def event_goes_through(api: Api, place: str, door: str, listen: tuple[str, int], until: float) -> str:
    """`place` is that of the pipeline, which is made here and deleted at the end; `listen` this pod's address and a port."""
    many, _, name = place.rpartition("/")
    deleted(api, place, until)
    host = f"[{listen[0]}]" if ":" in listen[0] else listen[0]
    with store(listen[1]) as (port, landed):
        status, said = api.ask(many, own_pipeline(name, f"http://{host}:{port}/"))
        if status != 201:
            raise CheckError(f"the pipeline of the test's own is refused ({status}): {said.get('message', '')}")
        try:
            ready(api, place, until)
            wanted = taken(door, until)
            while not any(wanted in body for body in landed):
                patience(until, f"the event was acknowledged and did not land: {told_of(api, place)}")
        finally:
            api.ask(place, method="DELETE")
    return "one event went through a pipeline of the test's own: taken, and landed in this pod; the pipeline is deleted"


def deleted(api: Api, place: str, until: float) -> None:
    """One of an earlier test, perhaps: return when there is none."""
    while api.ask(place, method="DELETE")[0] != 404:
        patience(until, "the pipeline of an earlier test does not go")


def ready(api: Api, place: str, until: float) -> None:
    while not any((one["type"], one["status"]) == ("Ready", "True") for one in conditions(api, place)):
        patience(until, f"the pipeline of the test's own does not get ready: {told_of(api, place)}")


def conditions(api: Api, place: str) -> list[dict[str, Any]]:
    return list(api.ask(place)[1].get("status", {}).get("conditions", ()))


def told_of(api: Api, place: str) -> str:
    bad = [one for one in conditions(api, place) if one["status"] == ("True" if one["type"] == "Stalled" else "False")]
    told = [f"{one['type']} {one['reason']}: {one['message']}" for one in bad if one["type"] != "Reconciling"]
    return "; ".join(told) or "the operator has said nothing of it yet"


def taken(door: str, until: float) -> bytes:
    """The id of an event that was acknowledged. A Service that is new takes a moment to be known everywhere."""
    name = uuid.uuid4().hex
    while True:
        try:
            status, said = answered(f"{door}/v1/events", {"id": name})
            why = f"({status}): {json.dumps(said)[:1000]}"
        except CheckError as error:
            status, why = 0, str(error)
        if status == 202:
            return name.encode()
        patience(until, f"the event was not taken {why}")


def patience(until: float, why: str) -> None:
    """Raises CheckError when it is at an end."""
    if time.monotonic() >= until:
        raise CheckError(why)
    time.sleep(LOOK_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description="What `helm test` asks of an installed release.")
    parser.add_argument("--server", default="https://kubernetes.default.svc")
    parser.add_argument("--account", type=pathlib.Path, default=ACCOUNT)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--operator", required=True, help="URL of its metrics")
    parser.add_argument("--pipeline", default="", help="NAMESPACE/NAME")
    parser.add_argument("--own", default="", help="NAMESPACE/NAME of a pipeline that is made for the test")
    parser.add_argument("--address", default="", help="of this pod")
    parser.add_argument("--port", type=int, default=8088, help="where the pipeline that is made lands")
    parser.add_argument("--door", default="")
    parser.add_argument("--event", type=json.loads, default={})
    parser.add_argument("--timeout-seconds", type=float, default=180.0)
    told = parser.parse_args()
    api, until = Api(told.server, told.account), time.monotonic() + told.timeout_seconds
    try:
        say(kinds_are_served(api))
        say(objects_are_judged(api, told.namespace))
        say(operator_is_ready(told.operator, until))
        namespace, _, name = (told.pipeline or told.own).partition("/")
        place = f"{GROUP}/namespaces/{namespace}/batchpipelines/{name}"
        if told.pipeline:
            say(event_is_found(api, place, told.door, told.event, until))
        elif told.own:
            say(event_goes_through(api, place, told.door, (told.address, told.port), until))
        else:
            say(NO_EVENT)
    except CheckError as error:
        say(f"FAILED: {error}")
        sys.exit(1)


def say(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
