"""Command lines and configuration of what runs pods on the one node: containerd, scheduler, kubelet, kube-proxy, DNS.

Many lines are answers to what containers and small machines lack; each such line says which.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib

from e2e.cluster.local import control_plane, network

NAME = "penstock-node"
PAUSE_IMAGE = "penstock.dev/pause:1"
NAMESPACE = "k8s.io"  # containerd's, where the kubelet looks
CONTROL_GROUP = "penstock-e2e"
_DNS_PORT = 8181
DNS_READY = f"http://127.0.0.1:{_DNS_PORT}/ready"
_ROUTABLE = [{"dst": "0.0.0.0/0"}]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`runtime` is for sockets and mounts, whose paths have to be short; `directory` for all else."""

    programs: pathlib.Path
    control_plane: control_plane.Plan
    directory: pathlib.Path
    runtime: pathlib.Path

    @property
    def socket(self) -> pathlib.Path:
        return self.runtime / "containerd.sock"

    def kubeconfig(self, who: str) -> pathlib.Path:
        return self.control_plane.identities / f"{who}.kubeconfig"


def prepare(plan: Plan) -> None:
    """Write what the commands refer to."""
    for folder in (plan.directory / "cni", plan.directory / "kubelet", plan.runtime):
        folder.mkdir(parents=True, exist_ok=True)
    (plan.directory / "cni" / "10-penstock.conflist").write_text(json.dumps(_pod_network(plan)))
    (plan.directory / "containerd.toml").write_text(_containerd(plan))
    (plan.directory / "kubelet.json").write_text(json.dumps(_kubelet(plan)))
    (plan.directory / "proxy.json").write_text(json.dumps(_proxy(plan)))
    (plan.directory / "Corefile").write_text(_dns(plan))


def containerd(plan: Plan) -> list[str]:
    return ["containerd", "--config", str(plan.directory / "containerd.toml")]


def scheduler(plan: Plan) -> list[str]:
    kubeconfig = plan.kubeconfig("scheduler")
    return [
        str(plan.programs / "kube-scheduler"),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=300",
        "--kube-api-burst=600",
        "--profiling=false",
    ]


def kubelet(plan: Plan) -> list[str]:
    return [
        str(plan.programs / "kubelet"),
        f"--config={plan.directory / 'kubelet.json'}",
        f"--kubeconfig={plan.kubeconfig('kubelet')}",
        f"--root-dir={plan.directory / 'kubelet'}",
        f"--cert-dir={plan.directory / 'kubelet' / 'pki'}",
        f"--hostname-override={NAME}",
        f"--node-ip={network.NODE_ADDRESS}",
    ]


def proxy(plan: Plan) -> list[str]:
    return [str(plan.programs / "kube-proxy"), f"--config={plan.directory / 'proxy.json'}"]


def dns(plan: Plan) -> list[str]:
    return [str(plan.programs / "coredns"), "-conf", str(plan.directory / "Corefile")]


def dns_rights() -> list[dict[str, object]]:
    """The objects that let DNS see what it answers for."""
    name, group = "penstock:dns", "rbac.authorization.k8s.io"
    rules: list[object] = [
        {"apiGroups": [""], "resources": ["services", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    role: dict[str, object] = {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}
    binding: dict[str, object] = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": name}],
    }
    return [role, binding]


def _pod_network(plan: Plan) -> dict[str, object]:
    addresses = {
        "type": "host-local",
        "dataDir": str(plan.runtime / "addresses"),
        "ranges": [[{"subnet": network.POD_RANGE}]],
        "routes": _ROUTABLE,
    }
    pair = {"type": "ptp", "ipMasq": False, "mtu": 1400, "ipam": addresses}
    host_ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "penstock", "plugins": [pair, host_ports]}


def _containerd(plan: Plan) -> str:
    cri = '[plugins."io.containerd.grpc.v1.cri"'
    # Where root may not lower scores (CAP_SYS_RESOURCE is missing), no container would start without the restriction.
    # Name spaces' mounts are kept below our own folder, so that taking the cluster away cannot hit anybody else's.
    return f"""\
version = 2
root = "{plan.directory / "containerd"}"
state = "{plan.runtime / "containerd"}"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]

[grpc]
  address = "{plan.socket}"

{cri}]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true

{cri}.cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{plan.directory / "cni"}"

{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

{cri}.containerd.runtimes.runc.options]
  SystemdCgroup = false
  Root = "{plan.runtime / "runc"}"
"""


def _kubelet(plan: Plan) -> dict[str, object]:
    keys = plan.control_plane.identities
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": network.NODE_ADDRESS,
        "healthzPort": 0,
        "containerRuntimeEndpoint": f"unix://{plan.socket}",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(keys / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(keys / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(keys / "kubelet-server.key"),
        # No systemd, and either version of control groups.
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CONTROL_GROUP}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDomain": "cluster.local",
        "clusterDNS": [network.DNS_ADDRESS],
        "resolvConf": "",
        "volumePluginDir": str(plan.directory / "volume-plugins"),
        "podLogsDir": str(plan.directory / "pod-logs"),
        # The disk is everybody's: its being full is no reason to end pods, and images can't be pulled again.
        "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "nodeStatusReportFrequency": "10s",
        "syncFrequency": "10s",
    }


def _proxy(plan: Plan) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(plan.kubeconfig("proxy"))},
        "clusterCIDR": network.POD_RANGE,
        "hostnameOverride": NAME,
        # Where the kernel's table of connections can't be resized, trying to is fatal.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"},
        "nodePortAddresses": ["primary"],
        "metricsBindAddress": "127.0.0.1:10249",
        "healthzBindAddress": "127.0.0.1:10256",
        "iptables": {"minSyncPeriod": "0s", "syncPeriod": "30s"},
    }


def _dns(plan: Plan) -> str:
    """Names of the cluster; every other name does not exist, at once, since nothing outside is to be reached."""
    return f"""\
cluster.local:53 in-addr.arpa:53 {{
    bind {network.DNS_ADDRESS}
    errors
    ready 127.0.0.1:{_DNS_PORT}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {plan.kubeconfig("dns")}
        ttl 5
    }}
    cache 5
}}
.:53 {{
    bind {network.DNS_ADDRESS}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""
