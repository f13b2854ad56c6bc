"""Helm, built beside the cluster's programs: renders a chart without a cluster, or installs it into one."""

from __future__ import annotations

import os
import pathlib

from e2e.cluster import shell
from e2e.cluster.local import binaries

_PATIENCE_SECONDS = 120.0


class Helm:
    """`home` is for its own files; `kubeconfig` names the cluster, if one is meant."""

    def __init__(self, programs: pathlib.Path, home: pathlib.Path, kubeconfig: pathlib.Path | None = None) -> None:
        self._program, self._home = programs / "helm", home
        self._kubeconfig = kubeconfig or home / "no-cluster"

    def of(self, kubeconfig: pathlib.Path) -> Helm:
        """The same, for this cluster."""
        return Helm(self._program.parent, self._home, kubeconfig)

    def run(self, *arguments: str, values: str = "") -> str:
        """Its output; `values`, as YAML, is what `--values=-` reads. Raises `shell.CommandError`."""
        homes = {f"HELM_{kind}_HOME": str(self._home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        environment = {"PATH": os.defpath, "HOME": str(self._home), **homes}
        command = [str(self._program), f"--kubeconfig={self._kubeconfig}", *arguments]
        return shell.run(command, values, environment=environment, limit_seconds=_PATIENCE_SECONDS)

    def template(self, chart: pathlib.Path, release: str, namespace: str, values: str) -> str:
        """What an installation would apply, hooks too."""
        version = f"--kube-version={binaries.kubernetes_version()}"
        return self.run("template", release, str(chart), f"--namespace={namespace}", version, "--values=-", values=values)
