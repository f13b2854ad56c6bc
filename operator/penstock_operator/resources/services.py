"""Services: the doors for those who send, and headless ones for clients that spread their calls by themselves."""

from __future__ import annotations

from typing import Any

from penstock_operator import names, revision
from penstock_operator.resources import identity, pods


def door(running: revision.Revision) -> dict[str, Any]:
    """Where events are sent."""
    return _service(running, names.ingest(running.name), "ingest", "", ("http", "grpc"), headless=False)


def door_pods(running: revision.Revision) -> dict[str, Any]:
    """Each door by itself: one HTTP/2 connection through a usual Service would stay with one pod for ever."""
    return _service(running, names.ingest_pods(running.name), "ingest", "", ("http", "grpc"), headless=True)


def sink(running: revision.Revision, name: str) -> dict[str, Any]:
    """Each server of a sink, for its batchers."""
    return _service(running, names.sink(running.name, name), "sink", name, ("sink",), headless=True)


def _service(
    running: revision.Revision, name: str, role: str, of_sink: str, ports: tuple[str, ...], *, headless: bool
) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "type": "ClusterIP",
        "selector": identity.selector(running.name, role, of_sink),
        "ports": [
            {
                "name": port,
                "port": pods.PORTS[role][port],
                "targetPort": port,
                "protocol": "TCP",
                "appProtocol": _protocol(running, port),
            }
            for port in ports
        ],
    }
    if headless:
        spec["clusterIP"] = "None"
    return identity.manifest(running, "v1", "Service", name, role=role, sink=of_sink, spec=spec)


def _protocol(running: revision.Revision, port: str) -> str:
    """What is spoken there, for meshes and ingress controllers."""
    door = running.pipeline.spec.source.ingest
    if port != "sink" and door and door.tls:
        return "https"
    return "http" if port == "http" else "kubernetes.io/h2c"
