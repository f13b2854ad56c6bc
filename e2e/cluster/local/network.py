"""What the cluster adds to this machine's network, and takes away again: addresses, a route, forwarding, firewall rules.

The node has an address of its own on the loopback device, since not every kernel has dummy devices. The route swallows what is
sent to pods that are gone; without it such packets would leave by the default route.
"""

from __future__ import annotations

import pathlib
import re
import shutil

from e2e.cluster import shell

NODE_ADDRESS = "172.31.255.1"
DNS_ADDRESS = "169.254.20.10"
POD_RANGE = "10.244.0.0/24"
_ADDRESSES = (NODE_ADDRESS, DNS_ADDRESS)
_FORWARDING = pathlib.Path("/proc/sys/net/ipv4/ip_forward")
_TABLES = ("iptables", "ip6tables")
# Chains of kube-proxy and the kubelet, and of the plug-in for host ports.
_OURS = re.compile(r"KUBE-|CNI-HOSTPORT|CNI-DN-")


class NetworkError(Exception):
    """This machine's network does not allow a cluster; the message says why."""


def add(remembered: pathlib.Path) -> None:
    """Set it up; `remembered` is where `remove` finds what was there before."""
    if "-P FORWARD DROP" in shell.run(["iptables", "-S", "FORWARD"]):
        raise NetworkError("iptables drops what is forwarded (Docker does this): stop Docker, or iptables -P FORWARD ACCEPT")
    for address in _ADDRESSES:
        shell.run(["ip", "address", "replace", f"{address}/32", "dev", "lo"])
    shell.run(["ip", "route", "replace", "unreachable", POD_RANGE])
    if not remembered.exists():
        remembered.write_text(_FORWARDING.read_text())
    _FORWARDING.write_text("1")


def remove(remembered: pathlib.Path) -> None:
    """Undo `add`, and take away the rules that the cluster's programs have made. Does nothing where there is nothing."""
    for address in _addresses():
        shell.run(["ip", "address", "delete", f"{address}/32", "dev", "lo"])
    if _has_route():
        shell.run(["ip", "route", "delete", "unreachable", POD_RANGE])
    if remembered.exists():
        _FORWARDING.write_text(remembered.read_text())
    for table in _TABLES:
        if _rules(table):
            kept = [line for line in _saved(table).splitlines() if not _OURS.search(line)]
            shell.run([f"{table}-restore"], "\n".join(kept) + "\n")


def left() -> list[str]:
    """What `remove` would still find."""
    rules = [f"{table}: {rule}" for table in _TABLES for rule in _rules(table)]
    return [f"address {address}" for address in _addresses()] + [f"route {POD_RANGE}"] * _has_route() + rules


def _addresses() -> list[str]:
    there = shell.run(["ip", "-4", "-oneline", "address", "show", "dev", "lo"])
    return [address for address in _ADDRESSES if f"{address}/32" in there]


def _has_route() -> bool:
    return bool(shell.run(["ip", "route", "show", "exact", POD_RANGE, "type", "unreachable"]).strip())


def _rules(table: str) -> list[str]:
    return [line for line in _saved(table).splitlines() if _OURS.search(line)]


def _saved(table: str) -> str:
    if shutil.which(f"{table}-save") is None:
        return ""
    try:
        return shell.run([f"{table}-save"])
    except shell.CommandError:
        return ""  # a kernel without IPv6
