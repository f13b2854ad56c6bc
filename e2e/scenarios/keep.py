"""What is kept of a scenario that failed: objects, events, what pods said, their metrics."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable

from e2e.cluster import provider, shell
from e2e.scenarios import api, beside, install

_KINDS = "bp,deployments,replicasets,pods,services,configmaps,events"
_METRICS = 9464
_SECONDS = "--request-timeout=20s"


def everything(
    cluster: provider.Cluster, connection: api.Api, servers: beside.Beside, namespaces: list[str], folder: pathlib.Path
) -> None:
    """Into `folder`; what can't be had is left out, and says so in its file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "servers.log").write_text(servers.last_words())
    for namespace in (*namespaces, install.NAMESPACE):
        _of(cluster, connection, namespace, folder / namespace)


def _of(cluster: provider.Cluster, connection: api.Api, namespace: str, folder: pathlib.Path) -> None:
    folder.mkdir(exist_ok=True)
    where = f"--namespace={namespace}"
    _into(folder / "objects.yaml", lambda: cluster.kubectl(_SECONDS, "get", _KINDS, where, "--output=yaml"))
    _into(
        folder / "events.txt", lambda: cluster.kubectl(_SECONDS, "get", "events", where, "--sort-by=.metadata.creationTimestamp")
    )
    try:
        pods = [str(one["metadata"]["name"]) for one in connection.listed("pods", namespace)]
    except OSError:
        return
    for pod in pods:
        _into(folder / f"{pod}.log", functools.partial(cluster.kubectl, _SECONDS, "logs", pod, where))
        _into(folder / f"{pod}.before.log", functools.partial(cluster.kubectl, _SECONDS, "logs", pod, where, "--previous"))
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}:{_METRICS}/proxy/metrics"
        _into(folder / f"{pod}.metrics", functools.partial(connection.text, path))


def _into(file: pathlib.Path, asked: Callable[[], str]) -> None:
    try:
        text = asked()
    except (shell.CommandError, OSError) as error:
        if "previous terminated container" in str(error):
            return
        text = f"not to be had: {error}\n"
    file.write_text(text)
