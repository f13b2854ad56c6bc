"""`host:port` texts of the doors."""

from __future__ import annotations


def split(address: str) -> tuple[str, int]:
    """Host and port; an IPv6 host in brackets comes out without them. Raises ValueError."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal():
        raise ValueError(f'"{address}" is not host:port')
    return host.removeprefix("[").removesuffix("]"), int(port)


def with_port(address: str, port: int) -> str:
    """The same host with the port that was really bound."""
    return f"{address.rpartition(':')[0]}:{port}"
