"""The pod template of each role: the command, its ports, what is mounted, and how little it may do.

Restricted pod security as it is written: no root, nothing writable but /tmp, no capability, the runtime's seccomp profile, no
service account token. Ports and paths are the same in every pod, so that probes, policies and people find them.
"""

from __future__ import annotations

from typing import Any, Final

from penstock.api import references
from penstock.api.model import pods as api_pods
from penstock_operator import names, revision, settings
from penstock_operator.resources import identity

HTTP, GRPC, METRICS, CONTROL, SINK = 8080, 9090, 9464, 9465, 9095
PORTS: Final[dict[str, dict[str, int]]] = {
    "ingest": {"http": HTTP, "grpc": GRPC, "metrics": METRICS, "control": CONTROL},
    "batcher": {"metrics": METRICS, "control": CONTROL},
    "sink": {"sink": SINK, "metrics": METRICS, "control": CONTROL},
}
FILE: Final = "/etc/penstock/pipeline.yaml"
SECRETS: Final = "/var/run/penstock/secrets"
TOKEN: Final = "/var/run/penstock/token"  # noqa: S105 - a folder
TOKEN_KEY: Final = "token"  # noqa: S105 - a file name
PRE_STOP_SECONDS: Final = 5
"""Between the moment a pod leaves its Services and SIGTERM, so that nobody is sent to it any more."""
GRACE_SECONDS: Final = 25
TERMINATION_SECONDS: Final = PRE_STOP_SECONDS + GRACE_SECONDS + 15


def template(running: revision.Revision, told: settings.Settings, *, role: str, sink: str, image: str) -> dict[str, Any]:
    """The pod template of a role; `sink` is empty for the doors."""
    chosen = running.pipeline.spec.pods
    secrets = mounted_secrets(running, role, sink)
    spec: dict[str, Any] = {
        "containers": [_container(running, role, sink, image, secrets)],
        "volumes": _volumes(running, role, sink, secrets),
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": TERMINATION_SECONDS,
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": identity.selector(running.name, role, sink)},
            }
        ],
    }
    if running.pipeline.spec.service_account_name:
        spec["serviceAccountName"] = running.pipeline.spec.service_account_name
    if told.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in told.image_pull_secrets]
    if chosen.node_selector:
        spec["nodeSelector"] = dict(chosen.node_selector)
    if chosen.tolerations:
        spec["tolerations"] = [one.model_dump(by_alias=True, exclude_none=True) for one in chosen.tolerations]
    metadata: dict[str, Any] = {"labels": {**chosen.labels, **identity.labels(running.name, role, sink)}}
    if chosen.annotations:
        metadata["annotations"] = dict(chosen.annotations)
    return {"metadata": metadata, "spec": spec}


def mounted_secrets(running: revision.Revision, role: str, sink: str) -> list[str]:
    """Names of the Secrets that this role needs, and no other pod of the pipeline is shown."""
    spec = running.pipeline.spec
    parts: dict[str, tuple[Any, ...]] = {
        "ingest": (spec.log, spec.source.ingest),
        "batcher": (spec.log, spec.source.kafka),
        "sink": (running.sink(sink),) if sink else (),
    }
    return sorted({name for part in parts[role] if part is not None for name in references.secrets(part)})


def _container(running: revision.Revision, role: str, sink: str, image: str, secrets: list[str]) -> dict[str, Any]:
    amounts = resources(getattr(running.pipeline.spec.pods.resources, role))
    mounts = [
        {"name": "pipeline", "mountPath": "/etc/penstock", "readOnly": True},
        {"name": "token", "mountPath": TOKEN, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
        *({"name": names.volume(name), "mountPath": f"{SECRETS}/{name}", "readOnly": True} for name in secrets),
    ]
    return {
        "name": role,
        "image": image,
        "args": command(running, role, sink),
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in PORTS[role].items()],
        "volumeMounts": mounts,
        **({"resources": amounts} if amounts else {}),
        "startupProbe": {**_probe("/livez"), "periodSeconds": 2, "failureThreshold": 90},
        "livenessProbe": {**_probe("/livez"), "periodSeconds": 10, "failureThreshold": 6},
        "readinessProbe": {**_probe("/readyz"), "periodSeconds": 3, "failureThreshold": 2},
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def command(running: revision.Revision, role: str, sink: str) -> list[str]:
    """The arguments of `penstock` in a pod of this role."""
    shared = ["--secrets", SECRETS, "--metrics", f"0.0.0.0:{METRICS}", "--control", f"0.0.0.0:{CONTROL}"]
    shared += ["--grace-seconds", str(GRACE_SECONDS), "--token-file", f"{TOKEN}/{TOKEN_KEY}"]
    own = {
        "ingest": [FILE, "--http", f"0.0.0.0:{HTTP}", "--grpc", f"0.0.0.0:{GRPC}"],
        "batcher": [FILE, "--sink", sink, "--sink-address", _sink_address(running, sink)],
        "sink": [FILE, sink, "--listen", f"0.0.0.0:{SINK}"],
    }
    return [role, *own[role], *shared]


def _sink_address(running: revision.Revision, sink: str) -> str:
    return f"{names.sink(running.name, sink)}.{running.namespace}.svc:{SINK}"


def _probe(path: str) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": "metrics", "scheme": "HTTP"}, "timeoutSeconds": 3}


def _volumes(running: revision.Revision, role: str, sink: str, secrets: list[str]) -> list[dict[str, Any]]:
    file = {"name": running.file_name(role, sink), "items": [{"key": "pipeline.yaml", "path": "pipeline.yaml"}]}
    return [
        {"name": "pipeline", "configMap": file},
        {"name": "token", "secret": {"secretName": names.token(running.name)}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
        # Optional: a missing one is told by the pod, with the keys it needs, instead of hanging in ContainerCreating.
        *({"name": names.volume(name), "secret": {"secretName": name, "optional": True}} for name in secrets),
    ]


def resources(chosen: api_pods.Resources) -> dict[str, Any]:
    """Requests and limits of a container; empty where none were chosen."""
    made = chosen.model_dump(by_alias=True, exclude_none=True)
    # As a cluster writes them back: a quantity is a text.
    return {kind: {name: str(value) for name, value in amounts.items()} for kind, amounts in made.items() if amounts}
