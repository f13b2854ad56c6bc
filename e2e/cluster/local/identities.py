"""Who is who in the cluster: a certificate for each program, issued by an authority that lives as long as the cluster."""

from __future__ import annotations

import base64
import dataclasses
import json
import pathlib
from collections.abc import Sequence

from e2e.cluster import shell

ADMIN = "admin"
_CLUSTER = "penstock-tests"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A client, with its groups, or a server where `hosts` (names and addresses) says what it is reached as."""

    name: str
    common_name: str
    groups: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


def of_control_plane(addresses: Sequence[str]) -> list[Identity]:
    """The API server, reached at `addresses`, its clients, and the admin."""
    services = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    return [
        Identity(name="apiserver", common_name="kube-apiserver", hosts=("localhost", *services, *addresses)),
        Identity(name=ADMIN, common_name=ADMIN, groups=("system:masters",)),
        Identity(name="controllers", common_name="system:kube-controller-manager"),
        Identity(name="front-proxy", common_name="front-proxy"),
    ]


def of_node(node: str, address: str) -> list[Identity]:
    """What runs on the node, and the API server as the kubelet's client."""
    return [
        Identity(name="kubelet-server", common_name=node, hosts=(node, address)),
        Identity(name="kubelet-client", common_name="kube-apiserver-kubelet-client", groups=("system:masters",)),
        Identity(name="kubelet", common_name=f"system:node:{node}", groups=("system:nodes",)),
        Identity(name="scheduler", common_name="system:kube-scheduler"),
        Identity(name="proxy", common_name="system:kube-proxy"),
        Identity(name="dns", common_name="penstock:dns"),
    ]


def issue(program: pathlib.Path, folder: pathlib.Path, identities: Sequence[Identity], server: str) -> None:
    """Write NAME.crt, NAME.key, and for clients NAME.kubeconfig for the API at `server`; also `ca`, and accounts.key, .pub."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted = [
        {"name": one.name, "common_name": one.common_name, "organization": list(one.groups), "hosts": list(one.hosts)}
        for one in identities
    ]
    shell.run([str(program), str(folder)], json.dumps(wanted), limit_seconds=60)
    for one in identities:
        if not one.hosts:
            user = {
                "client-certificate-data": _data(folder / f"{one.name}.crt"),
                "client-key-data": _data(folder / f"{one.name}.key"),
            }
            write_kubeconfig(folder / f"{one.name}.kubeconfig", server, folder / "ca.crt", user)


def write_kubeconfig(
    path: pathlib.Path, server: str, authority: pathlib.Path, user: dict[str, str], namespace: str = "default"
) -> None:
    """A file that refers to no other, for `user` as a kubeconfig spells one."""
    cluster = {"server": server, "certificate-authority-data": _data(authority)}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": _CLUSTER,
        "clusters": [{"name": _CLUSTER, "cluster": cluster}],
        "users": [{"name": path.stem, "user": user}],
        "contexts": [{"name": _CLUSTER, "context": {"cluster": _CLUSTER, "user": path.stem, "namespace": namespace}}],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=1))


def _data(path: pathlib.Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
