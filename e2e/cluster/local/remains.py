"""What is left of a cluster whose programs have been killed: containers, mounts, files, control groups.

Only what bears our folders' names is touched: another cluster on the same machine is none of our business.
"""

from __future__ import annotations

import collections
import contextlib
import os
import pathlib
import shutil
import socket
import time
from collections.abc import Mapping, Sequence

from e2e.cluster import shell
from e2e.cluster.local import daemon, node

_PATIENCE_SECONDS = 180.0
_BURIAL_SECONDS = 5.0
_LOOK_SECONDS = 0.05
_CONTROL_GROUPS = pathlib.Path("/sys/fs/cgroup")
# Places that are fixed in the programs which write there, some by way of others.
_LOG_LINKS = pathlib.Path("/var/log/containers")
_NETWORK_RESULTS = pathlib.Path("/var/lib/cni/results")
_SUPERVISORS = pathlib.Path("/run/containerd/s")
_DEVICES = pathlib.Path("/var/lib/kubelet/device-plugins")
_FIXED = (_LOG_LINKS, _NETWORK_RESULTS, _NETWORK_RESULTS.parent, _SUPERVISORS, _SUPERVISORS.parent, _DEVICES, _DEVICES.parent)


def add_control_group() -> None:
    """A parent of our own for the pods' groups, in each hierarchy: there are several in version 1, one in version 2."""
    roots = [_CONTROL_GROUPS] if (_CONTROL_GROUPS / "cgroup.controllers").exists() else list(_CONTROL_GROUPS.iterdir())
    for root in roots:
        if not root.is_symlink():
            (root / node.CONTROL_GROUP).mkdir(exist_ok=True)
            _weigh(root / node.CONTROL_GROUP)


def _weigh(group: pathlib.Path) -> None:
    """All pods together would weigh as much as one process beside them, and wait for minutes on a machine that is busy."""
    for name, weight in (("cpu.shares", "8192"), ("cpu.weight", "800")):
        if (group / name).exists():
            (group / name).write_text(weight)


def end_containers(runtime: pathlib.Path) -> None:
    """Kill containers, then their supervisors, which bear the address of containerd and have containers as children.

    containerd is dead by then: it would throw away what tells which files are theirs. The supervisors bury the dead first. The
    machine's first process may take half a minute for that, and until then nobody can remove their control groups.
    """
    supervisors = _supervisors(runtime)
    children = _children()
    for process in _below(supervisors, children):
        daemon.kill(process)
    deadline = time.monotonic() + _BURIAL_SECONDS
    while _below(supervisors, _children()) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    for supervisor in supervisors:
        daemon.kill(supervisor)


def unmount(*folders: pathlib.Path) -> None:
    for mount in sorted(_mounts(*folders), reverse=True):
        shell.run(["umount", "--lazy", mount], limit_seconds=60)


def delete(*folders: pathlib.Path) -> None:
    """Files, and the control groups of pods, which the kernel frees a moment after their last process."""
    for path in [*_links(*folders), *_network_results(*folders), *_sockets(*folders)]:
        path.unlink(missing_ok=True)
    for folder in _FIXED:
        with contextlib.suppress(OSError):  # somebody else's, or never made
            folder.rmdir()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (groups := _control_groups()) and time.monotonic() < deadline:
        for group in sorted(groups, reverse=True):
            with contextlib.suppress(OSError):
                group.rmdir()
        time.sleep(_LOOK_SECONDS)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def left(*folders: pathlib.Path) -> list[str]:
    """What should not be there any more."""
    processes = [f"process {process}: {line}" for process, line in _processes() if any(str(folder) in line for folder in folders)]
    mounts = [f"mount {mount}" for mount in _mounts(*folders)]
    files = [f"file {path}" for path in [*folders, *_links(*folders)] if path.exists() or path.is_symlink()]
    groups = [f"control group {path}" for path in _control_groups()]
    return processes + mounts + files + groups


def _supervisors(runtime: pathlib.Path) -> list[int]:
    return [process for process, line in _processes() if "containerd-shim" in line.split()[0] and str(runtime) in line]


def _below(processes: Sequence[int], children: Mapping[int, Sequence[int]]) -> list[int]:
    found = [child for process in processes for child in children.get(process, ())]
    for child in found:
        found += children.get(child, ())
    return found


def _children() -> Mapping[int, Sequence[int]]:
    found = collections.defaultdict(list)
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            found[int(fields[1])].append(int(path.parent.name))
    return found


def _processes() -> list[tuple[int, str]]:
    """Each with its command line; those that only wait to be buried have none."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if line and int(path.parent.name) != os.getpid():
                found.append((int(path.parent.name), line))
    return found


def _mounts(*folders: pathlib.Path) -> list[str]:
    places = [line.split()[1] for line in pathlib.Path("/proc/mounts").read_text().splitlines()]
    return [place for place in places if any(pathlib.Path(place).is_relative_to(folder) for folder in folders)]


def _links(*folders: pathlib.Path) -> list[pathlib.Path]:
    links = [path for path in _LOG_LINKS.glob("*") if path.is_symlink()]
    return [link for link in links if any(link.readlink().is_relative_to(folder) for folder in folders)]


def _sockets(*folders: pathlib.Path) -> list[pathlib.Path]:
    """Of supervisors, as each container's folder says; and the kubelet's for devices, unless somebody answers there."""
    said = [address for task in _tasks(*folders) if (address := task / "address").exists()]
    sockets = [pathlib.Path(address.read_text().strip().removeprefix("unix://")) for address in said]
    return sockets + [path for path in _DEVICES.glob("kubelet.sock") if not _answers(path)]


def _network_results(*folders: pathlib.Path) -> list[pathlib.Path]:
    """What the network's plug-ins remember of the pods that were running."""
    return [path for task in _tasks(*folders) for path in _NETWORK_RESULTS.glob(f"*-{task.name}-*")]


def _tasks(*folders: pathlib.Path) -> list[pathlib.Path]:
    """The folders of running containers and pods, each named after its id."""
    return [task for folder in folders for task in folder.glob("containerd/io.containerd.runtime.v2.task/*/*")]


def _answers(path: pathlib.Path) -> bool:
    with socket.socket(socket.AF_UNIX) as asked:
        return asked.connect_ex(str(path)) == 0


def _control_groups() -> list[pathlib.Path]:
    return [path for path in _CONTROL_GROUPS.rglob("*") if node.CONTROL_GROUP in path.parts and path.is_dir()]
