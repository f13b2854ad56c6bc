"""Is this machine one that a cluster can run on? Each thing that pods need is tried by itself, before any program is started.

A container that is not privileged, or a kernel without a module, shows here by name instead of as a node that never gets ready.
What is tried happens in namespaces that end with the trial.
"""

from __future__ import annotations

import os
import pathlib
import tempfile

from e2e.cluster import shell

_LIMIT_SECONDS = 30.0
_GROUPS = pathlib.Path("/sys/fs/cgroup")
_FORWARDING = pathlib.Path("/proc/sys/net/ipv4/ip_forward")
_VERSION_1 = ("cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids")
_VERSION_2 = ("cpu", "cpuset", "memory", "pids")
_RULES = (
    "-t nat -A POSTROUTING -m comment --comment x -j MASQUERADE --random-fully",
    "-t nat -A PREROUTING -m statistic --mode random --probability 0.5 -j MARK --or-mark 0x4000",
    "-t nat -A PREROUTING -m addrtype --dst-type LOCAL -p tcp -m tcp --dport 1 -j DNAT --to-destination 10.244.0.1:1",
    "-t filter -A FORWARD -m conntrack --ctstate INVALID -j DROP",
    "-t filter -A FORWARD -j REJECT",
)
_OVERLAY = 'mkdir {0}/a {0}/b {0}/c {0}/d && mount -t overlay overlay -o "lowerdir={0}/a,upperdir={0}/b,workdir={0}/c" {0}/d'


def missing(directory: pathlib.Path) -> list[str]:
    """What this machine lacks, each as a sentence with what was tried; `directory` is on the disk that containers would have."""
    tried = [
        _tried("mounts of its own (CAP_SYS_ADMIN)", "unshare --mount true"),
        _tried("processes of its own, with their /proc", "unshare --pid --fork --mount-proc true"),
        _tried("a network of its own, with pairs of devices", "unshare --net ip link add name pair0 type veth peer name pair1"),
        *(_tried("firewall rules", f"unshare --net iptables {rule}") for rule in _RULES),
        _overlay(directory),
        _forwarding(),
        *_groups(),
    ]
    return [one for one in tried if one]


def _tried(what: str, command: str) -> str:
    try:
        shell.run(["sh", "-c", command], limit_seconds=_LIMIT_SECONDS)
    except shell.CommandError as error:
        return f"{what}: {error}"
    return ""


def _overlay(directory: pathlib.Path) -> str:
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix="penstock-e2e-try-") as scratch:
        return _tried("overlay file systems on its disk", f"unshare --mount sh -c '{_OVERLAY.format(scratch)}'")


def _forwarding() -> str:
    try:
        with _FORWARDING.open("r+"):
            return ""
    except OSError as error:
        return f"forwarding between pods: {error}"


def _groups() -> list[str]:
    if not (_GROUPS / "cgroup.controllers").exists():
        return [_writable(_GROUPS / name) for name in _VERSION_1]
    return [_writable(_GROUPS), *(_delegated(name) for name in _VERSION_2)]


def _writable(folder: pathlib.Path) -> str:
    return (
        "" if folder.is_dir() and os.access(folder, os.W_OK) else f"control groups: {folder} is not there, or can't be written to"
    )


def _delegated(controller: str) -> str:
    """The kubelet switches controllers on for those below; while processes stand in the topmost group, the kernel forbids it."""
    switches = _GROUPS / "cgroup.subtree_control"
    if controller in switches.read_text().split():
        return ""
    try:
        switches.write_text(f"+{controller}")
        switches.write_text(f"-{controller}")
    except OSError as error:
        return f"control groups: {controller} can't be switched on in {switches}: {error}"
    return ""
