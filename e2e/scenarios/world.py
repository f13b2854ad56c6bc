"""What a scenario has: one cluster with the operator in it, servers beside it, and pipelines of its own."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable
from typing import TypeVar

from e2e.checker import verdict
from e2e.cluster import provider, shell
from e2e.scenarios import api, beside, install, manifests

T = TypeVar("T")

_TOOLS_NAMESPACE = "e2e-tools"
_AXE = "axe"
_LOOK_SECONDS = 0.25
# The path of a process's control group has the pod's uid, with underscores where systemd has made it.
_KILL = """
import os, pathlib, signal, sys
number, uid = int(sys.argv[1]), sys.argv[2]
for found in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        groups, command = (found / "cgroup").read_text(), (found / "cmdline").read_text()
    except OSError:
        continue
    if (uid in groups or uid.replace("-", "_") in groups) and "pause" not in command.split("\\0")[0]:
        os.kill(int(found.name), number)
        print("hit", command.split("\\0")[:3])
"""


class StuckError(Exception):
    """Something did not happen in time, or not as it should; the message says what, and how it was instead."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much and how long. `rate` in events per second of all clients of a pipeline, `events` between two steps."""

    events: int
    rate: float
    away_seconds: float
    kills: int
    """Of the operator, in its own scenario."""
    quiet_seconds: float
    limit_seconds: float
    """No scenario takes longer: what it waits for then has not come."""


SHORT = Scale(events=500, rate=200.0, away_seconds=10.0, kills=3, quiet_seconds=60.0, limit_seconds=600.0)
USUAL = Scale(events=1_000, rate=400.0, away_seconds=20.0, kills=6, quiet_seconds=60.0, limit_seconds=900.0)
LONG = Scale(events=5_000, rate=800.0, away_seconds=120.0, kills=20, quiet_seconds=300.0, limit_seconds=1_800.0)


class World:
    """One scenario's. `verdicts` are of its pipelines; `notes`, and what it waited for with the seconds, go into the summary."""

    def __init__(self, cluster: provider.Cluster, connection: api.Api, servers: beside.Beside, name: str, scale: Scale) -> None:
        self.cluster, self.api, self.servers, self.name, self.scale = cluster, connection, servers, name, scale
        self.random = random.Random(name)
        self.verdicts: list[verdict.Verdict] = []
        self.notes: list[str] = []
        self.waits: list[tuple[str, float]] = []
        self._ends = time.monotonic() + scale.limit_seconds
        self.namespaces: list[str] = []

    def clear(self) -> None:
        """Ask for the scenario's namespaces to go; the next scenario need not wait for it."""
        for namespace in self.namespaces:
            self.api.delete("namespaces", "", namespace)

    def note(self, what: str) -> None:
        """Something worth a line in the summary."""
        self.notes.append(what)

    def until(self, look: Callable[[], T | None], what: str, seconds: float = 120.0, why: Callable[[], str] | None = None) -> T:
        """What `look` returns as soon as it is something. Raises StuckError."""
        began = time.monotonic()
        deadline = min(began + seconds, self._ends)
        while (seen := look()) is None:
            if time.monotonic() > deadline:
                raise StuckError(f"not within {deadline - began:.0f} s: {what}\n{why() if why else ''}")
            time.sleep(_LOOK_SECONDS)
        self.waits.append((what, time.monotonic() - began))
        return seen

    def expect(self, holds: bool, what: str) -> None:
        """Raises StuckError unless it holds."""
        if not holds:
            raise StuckError(what)

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """As a user. Raises StuckError with what it said."""
        try:
            return self.cluster.kubectl("--request-timeout=60s", *arguments, stdin=stdin)
        except shell.CommandError as error:
            raise StuckError(str(error)) from error

    # -- violence

    def signal(self, number: int, pod: api.Object) -> None:
        """Send the signal to every process of a pod, as the node's kernel would."""
        self._axe_ready()
        metadata = pod["metadata"]
        said = self.kubectl(
            "exec", _AXE, f"--namespace={_TOOLS_NAMESPACE}", "--", "python3", "-c", _KILL, str(int(number)), metadata["uid"]
        )
        self.expect("hit" in said, f"no process of {metadata['name']} was found")

    def _axe_ready(self) -> None:
        if not ready(self.api.get("pods", _TOOLS_NAMESPACE, _AXE) or {}):
            labels = {"pod-security.kubernetes.io/enforce": "privileged"}
            self.api.apply("namespaces", manifests.namespace(_TOOLS_NAMESPACE, labels))
            self.api.apply("pods", manifests.axe(_TOOLS_NAMESPACE, _AXE))
            self.kubectl("wait", "--for=condition=Ready", f"pod/{_AXE}", f"--namespace={_TOOLS_NAMESPACE}", "--timeout=60s")

    def operator_pods(self) -> list[api.Object]:
        """Those of the operator that are not on their way out."""
        found = self.api.listed("pods", install.NAMESPACE, install.OPERATOR)
        return [one for one in found if "deletionTimestamp" not in one["metadata"]]

    def until_operator_ready(self) -> None:
        """Wait for one that is."""
        self.until(lambda: any(map(ready, self.operator_pods())) or None, "the operator is ready")


def clear_all(connection: api.Api, seconds: float = 120.0) -> None:
    """Take away what scenarios of an earlier run have left in the cluster. Raises StuckError."""
    deadline = time.monotonic() + seconds
    while there := [one["metadata"]["name"] for one in connection.listed("namespaces", "", manifests.OURS)]:
        if time.monotonic() > deadline:
            raise StuckError(f"still there: {', '.join(there)}")
        for name in there:
            connection.delete("namespaces", "", name)
        time.sleep(_LOOK_SECONDS)


def ready(pod: api.Object) -> bool:
    """Whether it is in its Services."""
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod.get("status", {}).get("conditions", ()))
