"""What is made for a replay: its Job, the ConfigMap that the pod reads, and who may call the pod."""

from __future__ import annotations

from typing import Any, Final

from penstock.api import references
from penstock.api.model import pipeline as api_pipeline
from penstock_operator import names, revision, settings
from penstock_operator.replaying import checking, situation, standing
from penstock_operator.resources import identity, pods

CONTAINER: Final = "replay"
BACKOFF_LIMIT: Final = 20
"""Pods that may end by themselves before the end; one that is evicted is not counted, and a log that is away is waited for."""
_FOLDER: Final = "/etc/penstock"
_LAST_WORD: Final = "/dev/termination-log"
_TERMINATION_SECONDS: Final = 15
_WRONG: Final = (1, 2)
"""Exit codes after which another try would end the same."""
_NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"


def all_of(one: standing.Standing, told: settings.Settings) -> tuple[dict[str, Any], ...]:
    """What the Job needs, and then the Job."""
    assert one.asked is not None  # noqa: S101 - whoever may go was checked
    return config(one.replay, one.asked), network_policy(one.replay, told), job(one.replay, one.asked, told)


def config(replay: Any, asked: checking.Asked) -> dict[str, Any]:
    """Both objects as files. It changes with them: a pod that starts anew goes by what is so then."""
    data = {"pipeline.yaml": asked.running.file(situation.ROLE), "replay.yaml": revision.as_text(checking.written(replay))}
    return _manifest(replay, "v1", "ConfigMap", _file_name(replay), data=data)


def _file_name(replay: Any) -> str:
    return names.replay(replay["metadata"]["name"], "file")


def network_policy(replay: Any, told: settings.Settings) -> dict[str, Any]:
    """The pod is asked by the operator, and by nobody else."""
    operator = {"namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: told.operator_namespace}}}
    spec = {
        "podSelector": {"matchLabels": {situation.REPLAY_LABEL: situation.labels(replay)[situation.REPLAY_LABEL]}},
        "policyTypes": ["Ingress"],
        "ingress": [{"ports": [{"port": pods.CONTROL, "protocol": "TCP"}], "from": [operator]}],
    }
    return _manifest(replay, "networking.k8s.io/v1", "NetworkPolicy", names.replay(replay["metadata"]["name"], "pods"), spec=spec)


def job(replay: Any, asked: checking.Asked, told: settings.Settings) -> dict[str, Any]:
    """Made once; of one that is there only `suspend` changes."""
    spec = {
        "suspend": False,
        "backoffLimit": BACKOFF_LIMIT,
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {"action": "FailJob", "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": list(_WRONG)}},
            ]
        },
        "template": _template(replay, asked, told),
    }
    return _manifest(replay, *situation.JOB, situation.job_name(replay), spec=spec)


def _template(replay: Any, asked: checking.Asked, told: settings.Settings) -> dict[str, Any]:
    chosen, mounted = asked.running.pipeline.spec.pods, _secrets(asked)
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "containers": [_container(asked, told, mounted)],
        "volumes": [
            {"name": "files", "configMap": {"name": _file_name(replay)}},
            {"name": "token", "secret": {"secretName": names.token(asked.running.name)}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
            *({"name": names.volume(name), "secret": {"secretName": name, "optional": True}} for name in mounted),
        ],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _TERMINATION_SECONDS,
    }
    if asked.running.pipeline.spec.service_account_name:
        spec["serviceAccountName"] = asked.running.pipeline.spec.service_account_name
    if told.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in told.image_pull_secrets]
    if chosen.node_selector:
        spec["nodeSelector"] = dict(chosen.node_selector)
    if chosen.tolerations:
        spec["tolerations"] = [one.model_dump(by_alias=True, exclude_none=True) for one in chosen.tolerations]
    metadata: dict[str, Any] = {"labels": {**chosen.labels, **situation.labels(replay)}}
    if chosen.annotations:
        metadata["annotations"] = dict(chosen.annotations)
    return {"metadata": metadata, "spec": spec}


def _secrets(asked: checking.Asked) -> list[str]:
    """Of the log and of the topic; a replay writes to no store."""
    topic = asked.replay.spec.source.kafka_topic
    return sorted({*pods.mounted_secrets(asked.running, "batcher", ""), *(references.secrets(topic) if topic else ())})


def _container(asked: checking.Asked, told: settings.Settings, mounted: list[str]) -> dict[str, Any]:
    resources = pods.resources(asked.running.pipeline.spec.pods.resources.batcher)
    return {
        "name": CONTAINER,
        "image": told.images["batcher"],
        "args": command(),
        "ports": [{"name": "control", "containerPort": pods.CONTROL, "protocol": "TCP"}],
        "volumeMounts": [
            {"name": "files", "mountPath": _FOLDER, "readOnly": True},
            {"name": "token", "mountPath": pods.TOKEN, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
            *({"name": names.volume(name), "mountPath": f"{pods.SECRETS}/{name}", "readOnly": True} for name in mounted),
        ],
        **({"resources": resources} if resources else {}),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePath": _LAST_WORD,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def command() -> list[str]:
    """The arguments of `penstock` in the pod."""
    files = ["-f", f"{_FOLDER}/replay.yaml", "-f", f"{_FOLDER}/pipeline.yaml", "--secrets", pods.SECRETS]
    asked = ["--control", f"0.0.0.0:{pods.CONTROL}", "--token-file", f"{pods.TOKEN}/{pods.TOKEN_KEY}"]
    return ["replay", *files, "--report", _LAST_WORD, *asked]


def _manifest(replay: Any, api_version: str, kind: str, name: str, **members: Any) -> dict[str, Any]:
    """It goes when the replay goes."""
    owner = {
        "apiVersion": api_pipeline.API_VERSION,
        "kind": situation.KIND,
        "name": replay["metadata"]["name"],
        "uid": replay["metadata"]["uid"],
        "controller": True,
    }
    metadata = {
        "name": name,
        "namespace": replay["metadata"]["namespace"],
        "labels": situation.labels(replay),
        "ownerReferences": [owner],
    }
    return identity.with_digest({"apiVersion": api_version, "kind": kind, "metadata": metadata, **members})
