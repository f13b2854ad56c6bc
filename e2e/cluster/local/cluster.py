"""The full cluster on this machine: brought up in the order in which parts need each other, taken away without a trace.

There is one at a time, root's, at fixed places: `down` must find what an `up` that was killed has left.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator

from e2e.cluster import cache, oci, provider, shell
from e2e.cluster.local import binaries, control_plane, daemon, fitness, identities, network, node, packages, remains

DIRECTORY = pathlib.Path("/var/lib/penstock-e2e")
RUNTIME = pathlib.Path("/run/penstock-e2e")
_API_PORT = 6443
_COMMAND_SECONDS = 300.0
_CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager")
_NODE = ("containerd", "kube-scheduler", "kubelet", "kube-proxy", "coredns")


class Local:
    """`report` is told each step and its seconds."""

    def __init__(self, report: Callable[[str, float], None]) -> None:
        self._report = report

    @property
    def kubeconfig(self) -> pathlib.Path:
        return DIRECTORY / "identities" / f"{identities.ADMIN}.kubeconfig"

    @property
    def machine_address(self) -> str:
        return network.NODE_ADDRESS

    @property
    def node_address(self) -> str:
        return network.NODE_ADDRESS

    @property
    def audit_log(self) -> pathlib.Path:
        return DIRECTORY / "audit.log"

    def up(self) -> None:
        try:
            packages.ensure()
            if os.geteuid() != 0:
                raise provider.UnfitError(
                    "the local cluster needs root: containers, mounts, firewall rules. Without: make test, or kind"
                )
            if lacking := fitness.missing(DIRECTORY.parent):
                raise provider.UnfitError("\n  ".join(["this machine can't run a cluster; it lacks", *lacking]))
            plan = _plan(binaries.build(binaries.CONTROL_PLANE), binaries.build(binaries.NODE))
            if not self._whole():
                self.down()
                self._up(plan)
        except (cache.MissingError, daemon.DaemonError, network.NetworkError, shell.CommandError) as error:
            raise provider.ClusterError(str(error)) from None

    def down(self) -> None:
        with self._step("processes ended"):
            for name in reversed(_CONTROL_PLANE + _NODE):
                _daemon(name).stop()
            remains.end_containers(RUNTIME)
        with self._step("mounts, network and files removed"):
            remains.unmount(DIRECTORY, RUNTIME)
            network.remove(DIRECTORY / "forwarding")
            remains.delete(DIRECTORY, RUNTIME)
        left = remains.left(DIRECTORY, RUNTIME) + network.left()
        if left:
            raise provider.ClusterError("left behind:\n" + "\n".join(left))

    def status(self) -> str:
        ended = [name for name in _CONTROL_PLANE + _NODE if not _daemon(name).alive()]
        if not DIRECTORY.exists():
            return "local: there is no cluster"
        if ended:
            return f"local: broken, not running: {', '.join(ended)}"
        return "local: " + self.kubectl("get", "nodes", "--no-headers").strip()

    def load_image(self, archive: pathlib.Path) -> None:
        shell.run(
            ["ctr", f"--address={RUNTIME / 'containerd.sock'}", f"--namespace={node.NAMESPACE}", "images", "import", str(archive)]
        )

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        program = binaries.found(binaries.CONTROL_PLANE) / "kubectl"
        return shell.run([str(program), f"--kubeconfig={self.kubeconfig}", *arguments], stdin, limit_seconds=_COMMAND_SECONDS)

    def helm(self, *arguments: str) -> str:
        homes = {f"HELM_{kind}_HOME": str(DIRECTORY / "helm" / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        program = binaries.found(binaries.NODE) / "helm"
        command = [str(program), f"--kubeconfig={self.kubeconfig}", *arguments]
        return shell.run(command, environment={**os.environ, **homes}, limit_seconds=_COMMAND_SECONDS)

    def stop_api(self) -> None:
        _daemon("kube-apiserver").stop()

    def start_api(self) -> None:
        plan = _plan(binaries.found(binaries.CONTROL_PLANE), binaries.found(binaries.NODE)).control_plane
        try:
            _daemon("kube-apiserver").start(control_plane.api_server(plan, node=True))
            _daemon("kube-apiserver").wait_until(lambda: self._answered("get", "--raw=/readyz"))
        except daemon.DaemonError as error:
            raise provider.ClusterError(str(error)) from None

    def keep_logs(self, folder: pathlib.Path) -> None:
        for kind in ("logs", "pod-logs"):
            if (DIRECTORY / kind).is_dir():
                shutil.copytree(DIRECTORY / kind, folder / kind, dirs_exist_ok=True)

    def _up(self, plan: node.Plan) -> None:
        with self._step("network and identities"):
            DIRECTORY.mkdir(parents=True)
            network.add(DIRECTORY / "forwarding")
            _issue(plan.control_plane)
            control_plane.prepare(plan.control_plane)
            node.prepare(plan)
            remains.add_control_group()
        with self._step("etcd, API server and containerd ready"):
            _daemon("etcd").start(control_plane.etcd(plan.control_plane))
            _daemon("kube-apiserver").start(control_plane.api_server(plan.control_plane, node=True))
            _daemon("containerd").start(node.containerd(plan))
            _daemon("containerd").wait_until(plan.socket.exists)
            self.load_image(_pause_image(plan.programs))
            _daemon("kube-apiserver").wait_until(lambda: self._answered("get", "--raw=/readyz"))
        with self._step("node ready, names resolve, accounts made"):
            self._start_rest(plan)
            _daemon("kubelet").wait_until(
                lambda: self._answered("wait", "--for=condition=Ready", f"node/{node.NAME}", "--timeout=1s")
            )
            _daemon("coredns").wait_until(lambda: _ok(node.DNS_READY))
            _daemon("kube-controller-manager").wait_until(lambda: self._answered("get", "serviceaccount", "default"))

    def _start_rest(self, plan: node.Plan) -> None:
        _daemon("kube-controller-manager").start(control_plane.controllers(plan.control_plane))
        _daemon("kube-scheduler").start(node.scheduler(plan))
        _daemon("kubelet").start(node.kubelet(plan))
        _daemon("kube-proxy").start(node.proxy(plan))
        rights = {"apiVersion": "v1", "kind": "List", "items": node.dns_rights()}
        self.kubectl("apply", "--filename=-", stdin=json.dumps(rights))
        _daemon("coredns").start(node.dns(plan))

    def _whole(self) -> bool:
        return all(_daemon(name).alive() for name in _CONTROL_PLANE + _NODE)

    def _answered(self, *arguments: str) -> bool:
        try:
            self.kubectl(*arguments)
        except shell.CommandError:
            return False
        return True

    @contextlib.contextmanager
    def _step(self, what: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._report(what, time.perf_counter() - started)


def _plan(control: pathlib.Path, programs: pathlib.Path) -> node.Plan:
    plan = control_plane.Plan(
        programs=control,
        directory=DIRECTORY,
        address=network.NODE_ADDRESS,
        api_port=_API_PORT,
        etcd_port=2379,
        etcd_peer_port=2380,
    )
    return node.Plan(programs=programs, control_plane=plan, directory=DIRECTORY, runtime=RUNTIME)


def _pause_image(programs: pathlib.Path) -> pathlib.Path:
    archive = RUNTIME / "pause.tar"
    oci.write_layer(RUNTIME / "pause-layer.tar", {"/pause": programs / "pause"})
    oci.write(archive, oci.Image(name=node.PAUSE_IMAGE, layers=[RUNTIME / "pause-layer.tar"], entrypoint=["/pause"]))
    return archive


def _issue(plan: control_plane.Plan) -> None:
    who = [
        *identities.of_control_plane([plan.address, "127.0.0.1", control_plane.SERVICE_ADDRESS]),
        *identities.of_node(node.NAME, plan.address),
    ]
    identities.issue(plan.programs / "certificates", plan.identities, who, plan.server)


def _daemon(name: str) -> daemon.Daemon:
    return daemon.Daemon(name=name, directory=DIRECTORY)


def _ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
