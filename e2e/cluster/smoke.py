"""Does a cluster do what scenarios need of it? Our image starts in a strict namespace, services answer by name, Helm works."""

from __future__ import annotations

import contextlib
import json
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import penstock
from e2e.cluster import image, provider, shell

NAMESPACE = "smoke"
_LIMIT = "--timeout=120s"
_INSIDE = f"--namespace={NAMESPACE}"
_PORT = 8080
_ASK = "import urllib.request as r; print(r.urlopen('http://web.smoke.svc.cluster.local/', timeout=5).status)"

# A library that was left out of the image, or half of it, shows here.
_IMPORT_ALL = """
import importlib, pkgutil
for name in ("penstock", "penstock_operator"):
    for module in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print("all there")
"""

Report = Callable[[str, float], None]


class SmokeError(provider.ClusterError):
    """The cluster is up, but not fit for tests."""


def run(cluster: provider.Cluster, archive: pathlib.Path, report: Report) -> None:
    """Raises SmokeError at the first thing that is not as it should be; the namespace is then left for whoever looks into it."""
    with _step("image loaded", report):
        cluster.load_image(archive)
    with _step("strict namespace", report):
        _apply(cluster, [_namespace()])
    with _step("a careless pod is refused", report):
        _refuses(cluster)
    with _step("penstock --version in a pod", report):
        _expect(_output(cluster, "version", ["penstock", "--version"]), penstock.__version__)
    with _step("all of the image's modules", report):
        _expect(_output(cluster, "modules", ["python3", "-c", _IMPORT_ALL]), "all there")
    with _step("two replicas ready", report):
        _apply(cluster, [_deployment(), _service()])
        cluster.kubectl("rollout", "status", "deployment/web", _INSIDE, _LIMIT)
    with _step("they answer by the service's name", report):
        _expect(_output(cluster, "ask", ["python3", "-c", _ASK]), "200")
    with _step("a command in a running pod", report):
        _expect(cluster.kubectl("exec", "deployment/web", _INSIDE, "--", "penstock", "--version"), penstock.__version__)
    with _step("Helm answers", report):
        _expect(cluster.helm("list", "--all-namespaces", "--output=json"), "[")
    with _step("namespace gone", report):
        cluster.kubectl("delete", "namespace", NAMESPACE, _LIMIT)


def pod(name: str, command: Sequence[str]) -> dict[str, Any]:
    """A pod of our image that a strict namespace takes, run once."""
    spec = {**_pod_spec(command), "restartPolicy": "Never"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


def _refuses(cluster: provider.Cluster) -> None:
    careless = pod("careless", ["true"])
    careless["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    try:
        _apply(cluster, [careless])
    except shell.CommandError as error:
        _expect(str(error), "violates PodSecurity")
    else:
        raise SmokeError("a privileged pod was let into a namespace that forbids them")


def _output(cluster: provider.Cluster, name: str, command: Sequence[str]) -> str:
    _apply(cluster, [pod(name, command)])
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", _INSIDE, _LIMIT)
    return cluster.kubectl("logs", name, _INSIDE)


def _expect(text: str, part: str) -> None:
    if part not in text:
        raise SmokeError(f"expected {part!r} in {text!r}")


def _apply(cluster: provider.Cluster, objects: Sequence[dict[str, Any]]) -> None:
    cluster.kubectl("apply", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def _namespace() -> dict[str, Any]:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}


def _deployment() -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": _pod_spec(["python3", "-m", "http.server", str(_PORT)])}
    template["spec"]["containers"][0]["readinessProbe"] = {"httpGet": {"path": "/", "port": _PORT}, "periodSeconds": 1}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template},
    }


def _service() -> dict[str, Any]:
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": _PORT}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": NAMESPACE}, "spec": spec}


def _pod_spec(command: Sequence[str]) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": image.NAME,
        "imagePullPolicy": "Never",
        "command": list(command),
        "workingDir": "/tmp",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    return {
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
    }


@contextlib.contextmanager
def _step(what: str, report: Report) -> Iterator[None]:
    started = time.perf_counter()
    yield
    report(what, time.perf_counter() - started)
