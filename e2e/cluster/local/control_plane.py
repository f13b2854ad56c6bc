"""The command lines of what stores and checks objects: etcd, the API server, the controllers. Pure; others start them.

Nothing here is meant to survive a power cut, so etcd doesn't sync. Each request is in the audit log, because a test wants to
know who wrote what, and that nobody wrote anything.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib

SERVICE_RANGE = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where the three run. `address` is what the API server listens at; pods reach it there unless it is a loopback address."""

    programs: pathlib.Path
    directory: pathlib.Path
    address: str
    api_port: int
    etcd_port: int
    etcd_peer_port: int

    @property
    def server(self) -> str:
        return f"https://{self.address}:{self.api_port}"

    @property
    def identities(self) -> pathlib.Path:
        return self.directory / "identities"

    @property
    def audit_log(self) -> pathlib.Path:
        return self.directory / "audit.log"

    @property
    def admin(self) -> pathlib.Path:
        return self.identities / "admin.kubeconfig"


def prepare(plan: Plan) -> None:
    """Write what the commands refer to; the identities are there already, or come."""
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    }
    (plan.directory / "audit-policy.json").write_text(json.dumps(policy))


def etcd(plan: Plan) -> list[str]:
    client, peer = (f"http://127.0.0.1:{port}" for port in (plan.etcd_port, plan.etcd_peer_port))
    return [
        str(plan.programs / "etcd"),
        f"--data-dir={plan.directory / 'etcd'}",
        "--unsafe-no-fsync",
        "--log-level=warn",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]


def api_server(plan: Plan, *, node: bool) -> list[str]:
    """`node` is whether kubelets are to be reached, and pods are to reach it."""
    keys = plan.identities
    return [
        str(plan.programs / "kube-apiserver"),
        f"--etcd-servers=http://127.0.0.1:{plan.etcd_port}",
        f"--bind-address={plan.address}",
        f"--secure-port={plan.api_port}",
        f"--advertise-address={plan.address}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        f"--tls-cert-file={keys / 'apiserver.crt'}",
        f"--tls-private-key-file={keys / 'apiserver.key'}",
        f"--client-ca-file={keys / 'ca.crt'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={keys / 'accounts.pub'}",
        f"--service-account-signing-key-file={keys / 'accounts.key'}",
        f"--audit-policy-file={plan.directory / 'audit-policy.json'}",
        f"--audit-log-path={plan.audit_log}",
        "--audit-log-maxsize=10000",
        "--profiling=false",
        *(_front_proxy(keys)),
        *(_to_kubelets(keys) if node else ["--endpoint-reconciler-type=none"]),
    ]


def controllers(plan: Plan) -> list[str]:
    """The usual client limit of 20 requests a second would be what tests wait for."""
    kubeconfig, keys = plan.identities / "controllers.kubeconfig", plan.identities
    return [
        str(plan.programs / "kube-controller-manager"),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--service-account-private-key-file={keys / 'accounts.key'}",
        f"--root-ca-file={keys / 'ca.crt'}",
        f"--cluster-signing-cert-file={keys / 'ca.crt'}",
        f"--cluster-signing-key-file={keys / 'ca.key'}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=300",
        "--kube-api-burst=600",
        "--profiling=false",
    ]


def _front_proxy(keys: pathlib.Path) -> list[str]:
    return [
        f"--requestheader-client-ca-file={keys / 'ca.crt'}",
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={keys / 'front-proxy.crt'}",
        f"--proxy-client-key-file={keys / 'front-proxy.key'}",
    ]


def _to_kubelets(keys: pathlib.Path) -> list[str]:
    return [
        f"--kubelet-certificate-authority={keys / 'ca.crt'}",
        f"--kubelet-client-certificate={keys / 'kubelet-client.crt'}",
        f"--kubelet-client-key={keys / 'kubelet-client.key'}",
        "--kubelet-preferred-address-types=InternalIP",
    ]
