"""A cluster by kind, in a container: for whoever has Docker. Every step is one command of kind, kubectl or Helm."""

from __future__ import annotations

import json
import pathlib
import time

from e2e.cluster import provider, shell

NAME = "penstock"
# Of the minor version that `local` builds.
NODE_IMAGE = "kindest/node:v1.34.3"
_WAIT = "120s"
_NODE = f"{NAME}-control-plane"
_API = "kube-apiserver.yaml"
_API_SECONDS = 180.0


class Kind:
    """`directory` keeps the kubeconfig; `run` runs commands."""

    def __init__(self, directory: pathlib.Path, run: shell.Runner) -> None:
        self._directory = directory
        self._run = run

    @property
    def kubeconfig(self) -> pathlib.Path:
        return self._directory / "kind.kubeconfig"

    @property
    def machine_address(self) -> str:
        networks = json.loads(self._run(["docker", "network", "inspect", "kind"], ""))
        return next(str(one["Gateway"]) for one in networks[0]["IPAM"]["Config"] if "." in one.get("Gateway", ""))

    @property
    def node_address(self) -> str:
        return str(json.loads(self._run(["docker", "inspect", _NODE], ""))[0]["NetworkSettings"]["Networks"]["kind"]["IPAddress"])

    @property
    def audit_log(self) -> None:
        return None

    def up(self) -> None:
        if self._exists():
            self._kind("export", "kubeconfig", "--kubeconfig", str(self.kubeconfig))
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        self._kind("create", "cluster", "--image", NODE_IMAGE, "--wait", _WAIT, "--kubeconfig", str(self.kubeconfig))
        # kind waits for the node, not for names.
        self.kubectl("--namespace=kube-system", "rollout", "status", "deployment/coredns", f"--timeout={_WAIT}")

    def down(self) -> None:
        self._kind("delete", "cluster", "--kubeconfig", str(self.kubeconfig))
        self.kubeconfig.unlink(missing_ok=True)

    def status(self) -> str:
        if not self._exists():
            return f'kind: there is no cluster "{NAME}"'
        return self.kubectl("get", "nodes", "--no-headers").strip()

    def load_image(self, archive: pathlib.Path) -> None:
        self._kind("load", "image-archive", str(archive))

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        return self._run(["kubectl", "--kubeconfig", str(self.kubeconfig), *arguments], stdin)

    def helm(self, *arguments: str) -> str:
        return self._run(["helm", "--kubeconfig", str(self.kubeconfig), *arguments], "")

    def stop_api(self) -> None:
        """The kubelet ends what is no longer among its manifests."""
        self._on_node("mv", f"/etc/kubernetes/manifests/{_API}", f"/etc/kubernetes/{_API}")

    def start_api(self) -> None:
        self._on_node("mv", f"/etc/kubernetes/{_API}", f"/etc/kubernetes/manifests/{_API}")
        deadline = time.monotonic() + _API_SECONDS
        while True:
            try:
                self.kubectl("get", "--raw=/readyz", "--request-timeout=5s")
                return
            except shell.CommandError as error:
                if time.monotonic() > deadline:
                    raise provider.ClusterError(f"the API server did not come back: {error}") from None
            time.sleep(1.0)

    def keep_logs(self, folder: pathlib.Path) -> None:
        self._kind("export", "logs", str(folder))

    def _on_node(self, *command: str) -> None:
        self._run(["docker", "exec", _NODE, *command], "")

    def _exists(self) -> bool:
        try:
            return NAME in self._run(["kind", "get", "clusters"], "").split()
        except shell.CommandError as error:
            raise provider.ClusterError(f"kind does not answer (kind and a running Docker are needed): {error}") from None

    def _kind(self, *arguments: str) -> None:
        try:
            self._run(["kind", *arguments, "--name", NAME], "")
        except shell.CommandError as error:
            raise provider.ClusterError(str(error)) from None
