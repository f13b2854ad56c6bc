"""What the operator costs at so many pipelines: memory, CPU and requests to converge, to start anew, and when all is quiet.

    python -m benchmarks.operator_cost 1 50 500

A real API server and etcd of its own, and no controllers: pipelines get all their children, and no pods. The figures of
docs/operator.md are from here. (It is not called `operator.py`: a script of that name would hide a module of the standard
library from its neighbours.)
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

import psutil
from e2e.cluster.local import binaries
from tests.servers import kubernetes
from tests.unit.operator import cluster as examples

from penstock.cli import background

ROOT = pathlib.Path(__file__).parents[1]
QUIET_SECONDS = 60.0
PATIENCE_SECONDS = 1_800.0
CHILDREN = 17


def _request(server: kubernetes.Kubernetes, method: str, path: str, body: object = None) -> dict:
    asked = urllib.request.Request(
        server.url + path,
        method=method,
        data=json.dumps(body).encode() if body is not None else None,
        headers={"Content-Type": "application/json"},
    )
    with server.open(asked) as answer:
        return json.loads(answer.read())


def _fill(server: kubernetes.Kubernetes, count: int) -> None:
    for number in range(count):
        made = examples.pipeline(f"p{number}")
        made["metadata"] = {"name": f"p{number}", "namespace": "web"}
        _request(server, "POST", "/apis/penstock.dev/v1alpha1/namespaces/web/batchpipelines", made)


def _start(server: kubernetes.Kubernetes, directory: pathlib.Path) -> subprocess.Popen[bytes]:
    (directory / "key").write_text("a key of at least thirty-two characters\n")
    environment = {
        **os.environ,
        "KUBECONFIG": str(server.kubeconfig),
        "PENSTOCK_IMAGE": "none",
        "PENSTOCK_KEY_FILE": str(directory / "key"),
        "PENSTOCK_METRICS": f"127.0.0.1:{background.free_port()}",
        "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("services", "operator")),
    }
    log = (directory / "operator.log").open("ab")
    return subprocess.Popen([sys.executable, "-m", "penstock_operator"], env=environment, stderr=log)


def _converged(server: kubernetes.Kubernetes, count: int) -> bool:
    listed = _request(server, "GET", "/apis/penstock.dev/v1alpha1/namespaces/web/batchpipelines")["items"]
    deployments = _request(server, "GET", "/apis/apps/v1/namespaces/web/deployments")["items"]
    return sum("status" in one for one in listed) == count and len(deployments) == 3 * count


def _settled(running: psutil.Process) -> None:
    """Until it has used next to no CPU for three seconds."""
    before = _cpu(running)
    for _ in range(600):
        time.sleep(3.0)
        now = _cpu(running)
        if now - before < 0.05:
            return
        before = now


def _cpu(running: psutil.Process) -> float:
    times = running.cpu_times()
    return times.user + times.system


def _figures(server: kubernetes.Kubernetes, directory: pathlib.Path, count: int) -> dict[str, float]:
    child = _start(server, directory)
    running = psutil.Process(child.pid)
    try:
        began = time.monotonic()
        while not _converged(server, count):
            assert time.monotonic() - began < PATIENCE_SECONDS
            time.sleep(0.5)
        seconds = time.monotonic() - began
        _settled(running)
        used, mark = _cpu(running), server.mark()
        time.sleep(QUIET_SECONDS)
        requests = [one for one in server.requests(mark) if one.user == "admin" and one.resource]
        return {
            "seconds": round(seconds, 1),
            "cpu_seconds": round(used, 1),
            "rss_mb": round(running.memory_info().rss / 1e6),
            "quiet_cpu_percent": round(100 * (_cpu(running) - used) / QUIET_SECONDS, 2),
            "quiet_lists_a_minute": sum(one.verb == "list" for one in requests),
            "quiet_writes_a_minute": sum(one.writes for one in requests),
        }
    finally:
        child.terminate()
        child.wait(60)


def measured(count: int) -> dict[str, dict[str, float]]:
    """From nothing, and once more over what is there."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="penstock-operator-cost-"))
    server = kubernetes.Kubernetes(binaries.found(binaries.CONTROL_PLANE), directory)
    try:
        server.start()
        server.controllers.kill()
        server.kubectl("create", "namespace", "web")
        crds = str(ROOT / "charts" / "penstock" / "files" / "crds")
        server.kubectl("apply", "--server-side", "-f", crds)
        server.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", crds)
        _fill(server, count)
        return {"first": _figures(server, directory, count), "again": _figures(server, directory, count)}
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    for wanted in [int(word) for word in sys.argv[1:]] or [1, 50, 500]:
        print(json.dumps({"pipelines": wanted, **measured(wanted)}), flush=True)
