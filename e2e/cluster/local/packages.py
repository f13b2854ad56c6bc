"""What the full cluster needs of Debian: installed when we are root, named when we are not. The API alone needs nothing."""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
import time

from e2e.cluster import cache, shell

# A file or command that shows that the package is there.
_PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "containernetworking-plugins": "/usr/lib/cni/ptp",
    "iproute2": "ip",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
}


def missing() -> list[str]:
    return [package for package, sign in _PACKAGES.items() if not _there(sign)]


def ensure() -> None:
    """Raises `cache.MissingError` with the command that would do it, where we may not."""
    wanted = missing()
    if not wanted:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise cache.MissingError(f"a cluster needs packages. Debian, Ubuntu: sudo apt-get install -y {' '.join(wanted)}")
    started = time.perf_counter()
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    shell.run(["apt-get", "update", "-qq"], environment=quiet)
    shell.run(["apt-get", "install", "-qq", "-y", "--no-install-recommends", *wanted], environment=quiet)
    sys.stdout.write(f"set-up: {' '.join(wanted)} {time.perf_counter() - started:6.1f} s\n")


def _there(sign: str) -> bool:
    # An ordinary user's PATH may lack the folders of what only root can use.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return pathlib.Path(sign).exists() if sign.startswith("/") else shutil.which(sign, path=path) is not None
