"""Addresses that no pipeline in a cluster has a reason to name: the pod itself, the machine's own services, the cluster's API.

Whoever may write a pipeline makes pods send to what it names. This keeps the pods from being asked to fetch credentials of a
cloud, or to talk to what listens on their own loopback. A name that leads there by DNS is a matter for egress policies.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Final
from urllib import parse

from penstock.api.model import base
from penstock.api.model import pipeline as api_pipeline
from penstock.core import errors

_NAMES: Final = ("localhost", "kubernetes", "kubernetes.default", "metadata", "metadata.google.internal")
_NUMBERS: Final = re.compile(r"^(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*\.?$", re.IGNORECASE)
_REMEDY: Final = "Name the store by its Service or host name."


def problems(described: api_pipeline.BatchPipeline) -> list[errors.Problem]:
    """Addresses that are refused, with their fields."""
    found = []
    for field, host in _hosts(described):
        if reason := refused(host):
            found.append(errors.Problem(field=field, value=host, message=reason, remedy=_REMEDY))
    return found


def refused(host: str) -> str:
    """Why a host is refused; empty where it is not."""
    name = host.strip("[]").rstrip(".").lower()
    if name in _NAMES or name.startswith("kubernetes.default.") or name.endswith(".localhost"):
        return "is the pod itself, the machine, or the cluster's own API"
    try:
        address = ipaddress.ip_address(name.split("%", 1)[0])
    except ValueError:
        return "is a number in a form that hides the address it means" if _NUMBERS.match(name) else ""
    mapped = getattr(address, "ipv4_mapped", None) or address
    own = mapped.is_loopback or mapped.is_link_local or mapped.is_unspecified or mapped.is_multicast or mapped.is_reserved
    return "is the pod itself, the machine, or nobody in particular" if own else ""


def _hosts(described: api_pipeline.BatchPipeline) -> Iterator[tuple[str, str]]:
    spec = described.spec
    if spec.log and spec.log.kafka:
        yield from _brokers("spec.log.kafka", spec.log.kafka.bootstrap_servers)
    if spec.source.kafka:
        yield from _brokers("spec.source.kafka", spec.source.kafka.bootstrap_servers)
        if spec.source.kafka.format.registry:
            yield "spec.source.kafka.format.registry.url", _host(spec.source.kafka.format.registry.url)
    for index, sink in enumerate(spec.sinks):
        at = f"spec.sinks[{index}]"
        if sink.click_house:
            yield f"{at}.clickHouse.url", _host(sink.click_house.url)
        if sink.http:
            yield f"{at}.http.url", _host(sink.http.url)
        if sink.postgres:
            yield f"{at}.postgres.host", sink.postgres.host
        if sink.kafka:
            yield from _brokers(f"{at}.kafka", sink.kafka.bootstrap_servers)
            if sink.kafka.format.registry:
                yield f"{at}.kafka.format.registry.url", _host(sink.kafka.format.registry.url)


def _brokers(at: str, servers: base.BootstrapServers) -> Iterator[tuple[str, str]]:
    for index, server in enumerate(servers):
        yield f"{at}.bootstrapServers[{index}]", server.rpartition(":")[0]


def _host(url: str) -> str:
    try:
        return parse.urlsplit(url).hostname or ""
    except ValueError:
        return "0"
