"""The endpoints behind the addresses a lane was given: a name that stands for several is several."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

_MOST = 64


def is_name(address: str) -> bool:
    """Whether asking for it may give several, and others later."""
    host = address.rpartition(":")[0].strip("[]")
    if address.startswith("unix:") or not host:
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host != "localhost"
    return False


async def resolve(addresses: Sequence[str]) -> dict[str, str]:
    """Where to connect, each with the name it was found by ("" where it is as it was given).

    A name stays a name where it has one address, or none that can be found now: the channel looks it up itself.
    """
    found: dict[str, str] = {}
    for address in addresses:
        hosts = await _hosts(address) if is_name(address) else []
        if len(hosts) > 1:
            port = address.rpartition(":")[2]
            found |= {f"[{host}]:{port}" if ":" in host else f"{host}:{port}": address for host in hosts[:_MOST]}
        else:
            found[address] = ""
    return found


async def _hosts(address: str) -> list[str]:
    """Of one family: a server that listens on both would look like two."""
    host, _, port = address.rpartition(":")
    try:
        told = await asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    for family in (socket.AF_INET, socket.AF_INET6):
        if hosts := sorted({str(place[0]) for kind, _, _, _, place in told if kind is family}):
            return hosts
    return []
