"""The manifests: how little a pod may do, what it is given, and what they are called."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import click
import hypothesis
import pytest
from hypothesis import strategies
from tests.unit.operator import cluster

from penstock.api import load
from penstock.cli import main
from penstock_operator import children, names, revision, settings, snapshot
from penstock_operator.planning import difference
from penstock_operator.resources import pods

_FULL: dict[str, Any] = {
    "serviceAccountName": "clicks",
    "source": {
        "ingest": {
            "auth": {"type": "BearerToken", "secretRef": {"name": "tokens"}},
            "tls": {"secretRef": {"name": "door.tls"}},
        }
    },
    "pods": {
        "labels": {"team": "web", "penstock.dev/pipeline": "another", "app.kubernetes.io/managed-by": "me"},
        "annotations": {"note": "x"},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "resources": {"sink": {"requests": {"cpu": 2, "memory": "1Gi"}, "limits": {"memory": "2Gi"}}},
    },
    "log": {
        "type": "Kafka",
        "kafka": {
            "bootstrapServers": ["kafka:9093"],
            "authentication": {
                "type": "ScramSha512",
                "username": "u",
                "passwordSecretRef": {"name": "log-password", "key": "password"},
            },
        },
    },
}


def _revision(**spec: Any) -> revision.Revision:
    text = revision.as_text(revision.reduced(cluster.pipeline(**{**_FULL, **spec}), None))
    return revision.read(text, generation=3, uid="uid")


def _made(**spec: Any) -> list[dict[str, Any]]:
    running = _revision(**spec)
    live = snapshot.Snapshot(pipeline=cluster.pipeline(), kinds=frozenset({"PodMonitor"}))
    made = children.wanted(running, live, cluster.SETTINGS)
    return [*made.support, *made.workloads]


def _deployments(**spec: Any) -> dict[str, dict[str, Any]]:
    return {cluster.role(one): one for one in _made(**spec) if one["kind"] == "Deployment"}


@pytest.mark.parametrize("role", settings.ROLES)
def test_a_pod_may_do_as_little_as_restricted_pod_security_allows(role: str) -> None:
    """Catches a right that a namespace with the restricted standard refuses, and with it the whole pipeline."""
    template = _deployments()[role]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert template["spec"]["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert template["spec"]["automountServiceAccountToken"] is False
    allowed = {"configMap", "secret", "emptyDir"}
    assert all(volume.keys() - {"name"} <= allowed for volume in template["spec"]["volumes"])
    assert "env" not in container
    assert "envFrom" not in container
    assert [port for port in container["ports"] if "hostPort" in port] == []
    assert not {"hostNetwork", "hostPID", "hostIPC"} & template["spec"].keys()


@pytest.mark.parametrize(
    ("role", "secrets"),
    [("ingest", ["door.tls", "log-password", "tokens"]), ("batcher", ["log-password"]), ("sink", ["ch"])],
)
def test_a_pod_is_shown_only_the_secrets_of_its_role(role: str, secrets: list[str]) -> None:
    """Catches a door that could read the store's password."""
    spec = _deployments()[role]["spec"]["template"]["spec"]
    mounted = [volume["secret"] for volume in spec["volumes"] if "secret" in volume and volume["name"] != "token"]
    assert sorted(one["secretName"] for one in mounted) == secrets
    assert all(one["optional"] for one in mounted)
    mounts = {
        mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"] if mount["mountPath"].startswith(pods.SECRETS)
    }
    assert mounts == {f"{pods.SECRETS}/{name}" for name in secrets}


@pytest.mark.parametrize("role", settings.ROLES)
def test_a_pod_is_probed_and_ends_in_good_order(role: str) -> None:
    """Catches a kill before the grace period of the process is over, and a pod that ends while it is still sent to."""
    spec = _deployments()[role]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == container["startupProbe"]["httpGet"]["path"] == "/livez"
    pre_stop = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = int(container["args"][container["args"].index("--grace-seconds") + 1])
    assert spec["terminationGracePeriodSeconds"] > pre_stop + grace


@pytest.mark.parametrize("role", settings.ROLES)
def test_the_command_of_a_pod_is_one_that_penstock_takes(role: str, tmp_path: pathlib.Path) -> None:
    """Catches an option that was renamed, and pods that all end with exit code 2."""
    file = tmp_path / "pipeline.yaml"
    file.write_text(_revision().file(role, "" if role == "ingest" else "warehouse"))
    (container,) = _deployments()[role]["spec"]["template"]["spec"]["containers"]
    name, *rest = (str(file) if one == pods.FILE else one for one in container["args"])
    command = main.cli.get_command(click.Context(main.cli), name)
    assert command is not None
    assert command.make_context(name, rest).params["file"] == file


def test_images_come_from_the_operator_alone() -> None:
    """Catches a pipeline that could choose what code runs."""
    images = {role: one["spec"]["template"]["spec"]["containers"][0]["image"] for role, one in _deployments().items()}
    assert images == dict(cluster.SETTINGS.images)


def test_labels_of_the_author_do_not_replace_those_of_the_operator() -> None:
    """Catches a pipeline whose pods another one's Services and policies would take for theirs."""
    labels = _deployments()["sink"]["spec"]["template"]["metadata"]["labels"]
    assert labels["team"] == "web"
    assert labels["penstock.dev/pipeline"] == "clicks"
    assert labels["app.kubernetes.io/managed-by"] == "penstock-operator"


def test_a_selector_is_part_of_the_labels_of_its_pods() -> None:
    """Catches a Deployment that the API refuses, and a Service or policy that finds nobody."""
    labels = {
        (cluster.role(one)): one["spec"]["template"]["metadata"]["labels"] for one in _made() if one["kind"] == "Deployment"
    }
    for one in _made():
        spec = one.get("spec", {})
        selector = spec.get("selector", spec.get("podSelector"))
        if selector is not None:
            wanted = selector.get("matchLabels", selector)
            found = [role for role, told in labels.items() if wanted.items() <= told.items()]
            assert found == ([cluster.role(one)] if cluster.role(one) in labels else list(labels))


def test_every_child_goes_with_its_pipeline() -> None:
    """Catches a child that stays behind when the object is deleted."""
    for one in _made():
        (owner,) = one["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == ("BatchPipeline", "clicks", "uid", True)
        # Needs a right of its own in some clusters, and delays the deletion of the pipeline in all.
        assert "blockOwnerDeletion" not in owner


def test_only_batchers_of_the_lane_may_call_a_sink() -> None:
    """Catches a network policy that lets any pod of the cluster write into a store."""
    policies = {cluster.role(one): one["spec"]["ingress"] for one in _made() if one["kind"] == "NetworkPolicy"}
    (sink_rule,) = [rule for rule in policies["sink"] if rule["ports"] == [{"port": pods.SINK, "protocol": "TCP"}]]
    assert sink_rule["from"] == [
        {"podSelector": {"matchLabels": {
            "penstock.dev/pipeline": "clicks", "penstock.dev/role": "batcher", "penstock.dev/sink": "warehouse"
        }}}
    ]  # fmt: skip
    for rules in policies.values():
        (control,) = [rule for rule in rules if rule["ports"] == [{"port": pods.CONTROL, "protocol": "TCP"}]]
        assert control["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "penstock-system"}}}]


def test_manifests_are_plain_data_without_empty_members_of_their_own() -> None:
    """Catches what the API server drops, which would be a difference for ever."""
    for one in _made():
        assert json.loads(json.dumps(one)) == one
    assert "nodeSelector" not in _deployments(pods={})["sink"]["spec"]["template"]["spec"]
    assert "resources" not in _deployments(pods={})["sink"]["spec"]["template"]["spec"]["containers"][0]


def test_the_file_of_each_role_is_a_pipeline_that_can_be_read() -> None:
    """Catches a file that penstock itself refuses."""
    running = _revision(lifecycle="Draining")
    for role in settings.ROLES:
        read = load.load_one(running.file(role, "warehouse" if role != "ingest" else ""))
        assert (read.metadata.name, read.metadata.namespace) == ("clicks", "web")
        assert read.spec.lifecycle == ("Draining" if role == "ingest" else "Running")


@pytest.mark.parametrize(
    ("changes", "roles"),
    [
        ({"lifecycle": "Paused"}, set()),
        ({"lifecycle": "Draining"}, {"ingest"}),
        ({"lifecycle": "Stopped"}, set()),
        ({"pods": {"nodeSelector": {"a": "b"}}}, set()),
        ({"serviceAccountName": "other"}, set()),
        ({"sinks": [cluster.sink(replicas={"min": 4})]}, set()),
        ({"sinks": [cluster.sink(lifecycle="Paused")]}, set()),
        ({"sinks": [cluster.sink(batching={"static": {"rows": 9}, "limits": {"lingerMilliseconds": 9}})]}, set()),
        ({"sinks": [cluster.sink(circuitBreaker={"mode": "ForcedOpen"}, retry={"unclassifiedAttempts": 3})]}, set()),
        ({"sinks": [cluster.sink(hedging={"mode": "Idempotent"})]}, set()),
        ({"sinks": [cluster.sink(batching={"limits": {"concurrency": 3}})]}, {"ingest", "batcher", "sink"}),
        ({"deadLetters": {"retentionHours": 9}}, {"ingest", "batcher", "sink"}),
    ],
    ids=str,
)
def test_an_edit_changes_the_files_of_those_it_concerns(changes: dict[str, Any], roles: set[str]) -> None:
    """Catches a restart for what pods are told while they run, and an edit that reaches none of them."""
    before, after = _revision(), _revision(**changes)
    places = {role: "" if role == "ingest" else "warehouse" for role in settings.ROLES}
    assert {role for role, sink in places.items() if before.file_name(role, sink) != after.file_name(role, sink)} == roles


_NAMES = strategies.from_regex(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True)


@hypothesis.given(strategies.sets(strategies.tuples(_NAMES, _NAMES), min_size=2, max_size=2))
@hypothesis.example({("a", "b-c"), ("a-b", "c")})
@hypothesis.example({("a", "b--c"), ("a--b", "c")})
@hypothesis.example({("a" * 40, "b" * 39 + "c"), ("a" * 40, "b" * 39 + "d")})
def test_no_two_lanes_share_a_name(pairs: set[tuple[str, str]]) -> None:
    """Catches `a` with `b-c` and `a-b` with `c`, and two long names that begin alike."""
    for of in (names.batcher, names.sink):
        assert len({of(*pair) for pair in pairs}) == 2


@pytest.mark.parametrize("length", [1, 20, 40, 63, 253])
@pytest.mark.parametrize("letter", ["a", "."])
def test_names_fit_whatever_the_pipeline_is_called(length: int, letter: str) -> None:
    """Catches a Service or a pod whose name is too long for the cluster, and a label that is."""
    name = ("x" + letter * length)[: length - 1] + "x"
    made = [names.ingest(name), names.ingest_pods(name), names.batcher(name, name), names.sink(name, name), names.accepted(name)]
    made += [names.file(name, "batcher", "01234567"), names.token(name), names.metrics(name)]
    assert max(map(len, made)) <= names.MOST_CHARACTERS
    assert all(one[0].isalnum() and one[-1].isalnum() and "." not in one for one in made)
    assert len(names.label(name)) <= 63


def test_the_promised_names_are_these() -> None:
    """Catches a name that autoscalers in the field refer to, changed by accident."""
    assert names.ingest("clickstream") == "clickstream-ingest"
    assert names.batcher("clickstream", "warehouse") == "clickstream--warehouse-batcher"
    assert names.sink("clickstream", "warehouse") == "clickstream--warehouse-sink"


@hypothesis.given(
    strategies.recursive(strategies.none() | strategies.integers() | strategies.text(), strategies.lists, max_leaves=8)
)
@hypothesis.example("emoji \U0001f600, next line \x85, separator \u2028, y, 1:30, tab\t, \x7f")
def test_any_text_survives_the_way_through_a_file(value: Any) -> None:
    """Catches a character that JSON leaves as it is and YAML breaks a line at, or refuses."""
    from penstock.api.reading import document

    (read,) = document.parse(revision.as_text({"value": value}))
    assert read.data == ({} if value is None else {"value": value})


@pytest.mark.parametrize(
    ("live", "wanted", "same"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({}, {"a": {}}, True),
        ({"cpu": "1"}, {"cpu": "1000m"}, True),
        ({"memory": "1Gi"}, {"memory": "1024Mi"}, True),
        ({"memory": "1Gi"}, {"memory": "1G"}, False),
        ([{"name": "a", "x": 1}, {"name": "b"}], [{"name": "b"}], True),
        ([{"name": "a"}], [{"name": "b"}], False),
        (["a", "b"], ["a"], False),
        (None, [], True),
        (None, ["a"], False),
        ("1", 1, False),
    ],
    ids=str,
)
def test_what_the_cluster_rewrites_is_no_difference(live: Any, wanted: Any, same: bool) -> None:
    """Catches a repair that repeats for ever, and drift that is not seen."""
    assert difference.says(live, wanted) is same


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, "PENSTOCK_IMAGE"),
        ({"PENSTOCK_IMAGE": "i", "PENSTOCK_RESYNC_SECONDS": "soon"}, "PENSTOCK_RESYNC_SECONDS"),
        ({"PENSTOCK_IMAGE": "i", "PENSTOCK_DEFAULT_LOG": "{}"}, "PENSTOCK_DEFAULT_LOG"),
        ({"PENSTOCK_IMAGE": "i", "PENSTOCK_DEFAULT_LOG": "no"}, "PENSTOCK_DEFAULT_LOG"),
    ],
    ids=str,
)
def test_a_wrong_environment_is_told_by_its_variable(environment: dict[str, str], named: str) -> None:
    """Catches an operator that starts with half of its settings."""
    with pytest.raises(settings.SettingsError, match=named):
        settings.of_environment(environment)


def test_the_environment_is_read_whole() -> None:
    """Catches a variable that is documented and ignored."""
    log = '{"type": "Kafka", "kafka": {"bootstrapServers": ["kafka:9092"]}}'
    told = settings.of_environment(
        {"PENSTOCK_IMAGE": "i", "PENSTOCK_IMAGE_SINK": "s", "PENSTOCK_NAMESPACES": "a, b", "PENSTOCK_DEFAULT_LOG": log}
    )
    assert told.images == {"ingest": "i", "batcher": "i", "sink": "s"}
    assert told.namespaces == ("a", "b")
    assert told.default_log is not None
