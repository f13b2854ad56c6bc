"""What a kubelet does for the pods of replays' Jobs: runs the container's own command over the mounted files, and tells how it
ended. The files lie in a folder of the test, and the pod has an address of this machine to itself."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import signal
import subprocess
import sys
import urllib.error
from collections.abc import Callable
from typing import Any

from tests.integration import operating

from penstock.cli import background

_STRATEGIC = "application/strategic-merge-patch+json"
_ROOT = pathlib.Path(__file__).parents[2]
_MOMENT = "2026-01-01T00:00:00Z"


def pods(world: operating.World, replay: str) -> list[dict[str, Any]]:
    """Those of a replay that have not ended and are not on their way out."""
    return [
        one
        for one in world.items("Pod").values()
        if one["metadata"].get("labels", {}).get("penstock.dev/replay") == replay
        and not one["metadata"].get("deletionTimestamp")
        and one.get("status", {}).get("phase") not in ("Succeeded", "Failed")
    ]


def pod(world: operating.World, replay: str) -> dict[str, Any]:
    """The one pod of a replay, as soon as its Job has made it."""
    found: list[dict[str, Any]] = operating.until(lambda: pods(world, replay), f"{replay} has a pod")
    return found[0]


def tell(world: operating.World, name: str, **status: Any) -> None:
    """Write a pod's status; one that is gone needs none."""
    try:
        world.patch(f"{world.place('Pod', name)}/status", {"status": status}, _STRATEGIC)
    except urllib.error.HTTPError as error:
        with error:
            if error.code != 404:
                raise


def ended(world: operating.World, name: str, code: int, message: str = "", *, evicted: bool = False) -> None:
    """The container of a pod ended so."""
    terminated = {"exitCode": code, "message": message, "startedAt": _MOMENT, "finishedAt": _MOMENT, "reason": "Ended"}
    container = {
        "name": "replay",
        "image": "x",
        "imageID": "x",
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": terminated},
    }
    disrupted = {"type": "DisruptionTarget", "status": "True", "lastTransitionTime": _MOMENT, "reason": "Evicted"}
    tell(
        world,
        name,
        phase="Failed" if code else "Succeeded",
        containerStatuses=[container],
        conditions=[disrupted] if evicted else [],
    )


class RunningPod:
    """One pod whose command runs here. `rewritten` makes of a mounted file what leads to the test's own servers."""

    def __init__(
        self, world: operating.World, replay: str, folder: pathlib.Path, address: str, rewritten: Callable[[str], str]
    ) -> None:
        self.world, self.folder, self.address = world, folder, address
        self.manifest = pod(world, replay)
        self.name = str(self.manifest["metadata"]["name"])
        folder.mkdir(parents=True)
        arguments = [self._here(one) for one in self._container["args"]]
        self._mount(rewritten)
        command = [sys.executable, "-m", "penstock.cli.main", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(_ROOT / "services")}
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        tell(world, self.name, phase="Running", podIP=address)

    @property
    def _container(self) -> dict[str, Any]:
        [one] = self.manifest["spec"]["containers"]
        return dict(one)

    def _here(self, argument: str) -> str:
        """The container's paths below the folder, its addresses at the pod's own."""
        if argument.startswith("/"):
            return f"{self.folder}{argument}"
        return argument.replace("0.0.0.0:", f"{self.address}:")

    def _mount(self, rewritten: Callable[[str], str]) -> None:
        (self.folder / "dev").mkdir()
        at = {one["name"]: self.folder / one["mountPath"].lstrip("/") for one in self._container["volumeMounts"]}
        for volume in self.manifest["spec"]["volumes"]:
            path = at[volume["name"]]
            path.mkdir(parents=True, exist_ok=True)
            if "configMap" in volume:
                for name, text in self.world.get("ConfigMap", volume["configMap"]["name"])["data"].items():
                    (path / name).write_text(rewritten(text))
            if "secret" in volume:
                for name, value in self._secret(volume["secret"]["secretName"]).items():
                    (path / name).write_text(value)

    def _secret(self, name: str) -> dict[str, str]:
        found = self.world.server.kubectl("get", "secret", name, f"--namespace={self.world.namespace}", "-o", "json")
        return {key: base64.b64decode(value).decode() for key, value in json.loads(found)["data"].items()}

    @property
    def gone(self) -> bool:
        """Whether the cluster has taken the pod away."""
        return self.name not in self.world.items("Pod")

    def said(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def finish(self) -> str:
        """Wait until it ends by itself, and tell so; its last word."""
        code = self.process.wait(timeout=operating.PATIENCE_SECONDS)
        word = self.folder / "dev" / "termination-log"
        message = word.read_text() if word.exists() else self.said()[-2000:]
        ended(self.world, self.name, code, message)
        return message

    def evict(self) -> None:
        """kill -9, as when the node goes."""
        self.process.kill()
        self.process.wait()
        ended(self.world, self.name, 137, evicted=True)

    def end(self) -> int:
        """What a kubelet does to a pod that was deleted; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=operating.PATIENCE_SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def free_address() -> str:
    """An address of this machine at which nobody listens yet; every pod has the same ports."""
    port = background.free_port()
    return f"127.{64 + port % 64}.{port // 256 % 256}.{1 + port % 254}"
