"""The first five minutes in a cluster, as the README tells them."""

from __future__ import annotations

import json

from e2e.chaos.kafka import senders, stream
from e2e.checker import columns
from e2e.scenarios import manifests, site, world

_SEND = """
import sys, urllib.request
url, body = sys.argv[1:]
request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
with urllib.request.urlopen(request, timeout=20) as answer:
    print("answered", answer.status)
"""
_COLUMNS = ("NAME", "READY", "STATE", "RATE", "LAG", "BATCH", "CIRCUIT", "DEAD", "RETAIN", "SEEN", "AGE")


def first_apply(here: world.World) -> None:
    """Apply, wait for Ready, send by the Service's name and from outside, find the rows, read `kubectl get bp`."""
    with site.opened(here) as one:
        one.prepare()
        one.apply()
        here.kubectl("wait", "--for=condition=Ready", f"bp/{manifests.NAME}", f"--namespace={one.namespace}", "--timeout=180s")
        _send_from_a_pod(here, one.namespace, one.told)
        one.until_state("Running")
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        one.until_lands()
        one.sample()
        shown = here.kubectl("get", "bp", f"--namespace={one.namespace}").splitlines()
        here.expect(tuple(shown[0].split()) == _COLUMNS, f"kubectl get bp shows {shown[0]!r}")
        here.note(" ".join(shown[1].split()))
        here.expect(shown[1].split()[:3] == [manifests.NAME, "True", "Running"], f"kubectl get bp shows {shown[1]!r}")
        one.judge()
        here.expect(one.condition("Conserved")[0] == "True", f"Conserved is {one.condition('Conserved')}")


def _send_from_a_pod(here: world.World, namespace: str, told: senders.Told) -> None:
    """One good event, through the promised Service."""
    drawn = told.take(1)
    while drawn.refused[0]:
        told.note(drawn, columns.SENT, set())
        drawn = told.take(1)
    url = f"http://{manifests.NAME}-ingest.{namespace}.svc:8080/v1/events"
    body = stream.payloads(drawn)[0].decode()
    here.kubectl("apply", "--filename=-", stdin=json.dumps(manifests.once(namespace, "sender", _SEND, [url, body])))
    where = f"--namespace={namespace}"
    here.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/sender", where, "--timeout=60s")
    here.expect("answered 202" in here.kubectl("logs", "sender", where), "the door did not take the event")
    told.note(drawn, columns.OK, set())


EACH = {"first apply": first_apply}
