"""The chart as Helm renders it: how little the operator may do, what it is told, and which values are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from e2e.cluster import shell
from tests.integration import chart
from tests.servers import helm

from penstock.api.model import log as api_log
from penstock_operator import permissions, settings

_SCHEMA = json.loads((chart.CHART / "values.schema.json").read_text())
_VALUES = yaml.safe_load((chart.CHART / "values.yaml").read_text())
_DIGEST = f"sha256:{'d' * 64}"


@pytest.fixture(scope="module")
def default(helm_program: helm.Helm) -> list[chart.Manifest]:
    return chart.rendered(helm_program)


@pytest.fixture(scope="module")
def everything(helm_program: helm.Helm) -> list[chart.Manifest]:
    return chart.rendered(helm_program, **chart.EVERYTHING)


# Rights.


def test_the_operator_may_do_what_it_says_it_does_and_nothing_else(default: list[chart.Manifest]) -> None:
    """Catches a verb too many, one too few, and a list in the chart that was forgotten when the operator changed."""
    [role] = [one for one in chart.of_kind(default, "ClusterRole") if one["metadata"]["name"].endswith("-operator")]
    assert chart.granted([role]) == _asked_for(permissions.IN_WATCHED_NAMESPACES)
    assert chart.of_kind(default, "Role") == [one for one in chart.of_kind(default, "Role") if _is_test(one)]


def test_with_several_replicas_it_may_hold_a_lease_in_its_own_namespace(everything: list[chart.Manifest]) -> None:
    """Catches a Lease that nobody may take, and one that is granted in all namespaces."""
    role = chart.one(everything, "Role", "penstock-operator-lease")
    assert role["metadata"]["namespace"] == chart.NAMESPACE
    assert chart.granted([role]) == _asked_for(permissions.IN_OWN_NAMESPACE)


def test_no_role_has_wildcards_and_none_reads_secrets(everything: list[chart.Manifest], default: list[chart.Manifest]) -> None:
    """Catches `*`, and any verb on Secrets but `create`."""
    for _, resource, verb in chart.granted(chart.of_kind([*default, *everything], "Role", "ClusterRole")):
        assert "*" not in (resource, verb)
        assert resource != "secrets" or verb == "create"


def test_named_namespaces_need_nothing_of_the_whole_cluster(helm_program: helm.Helm) -> None:
    """Catches a ClusterRole for an operator that looks after two namespaces, and a namespace left without a Role."""
    found = chart.rendered(helm_program, watchNamespaces=["web", "shop"])
    assert chart.of_kind(found, "ClusterRole", "ClusterRoleBinding") == []
    for namespace in ("web", "shop"):
        [role] = [one for one in chart.of_kind(found, "Role") if one["metadata"]["namespace"] == namespace]
        assert chart.granted([role]) == _asked_for(permissions.IN_WATCHED_NAMESPACES)
        [binding] = [one for one in chart.of_kind(found, "RoleBinding") if one["metadata"]["namespace"] == namespace]
        assert binding["roleRef"]["name"] == role["metadata"]["name"]
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": chart.OPERATOR, "namespace": chart.NAMESPACE}]
    assert chart.environment(found)["PENSTOCK_NAMESPACES"] == "web,shop"


def test_every_binding_names_a_role_that_is_there(everything: list[chart.Manifest]) -> None:
    """Catches a role renamed on one side: Kubernetes takes a binding to nothing without a word."""
    roles = {(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in everything}
    for binding in chart.of_kind(everything, "RoleBinding", "ClusterRoleBinding"):
        told = binding["roleRef"]
        namespace = binding["metadata"].get("namespace") if told["kind"] == "Role" else None
        assert (told["kind"], namespace, told["name"]) in roles
        for subject in binding["subjects"]:
            assert ("ServiceAccount", subject["namespace"], subject["name"]) in roles


def test_users_get_both_kinds_with_the_roles_they_have(default: list[chart.Manifest], helm_program: helm.Helm) -> None:
    """Catches viewers who may write, editors without replays, a role for users that cannot be refused."""
    kinds = ("batchpipelines", "deadletterreplays")
    for role, verbs in (
        ("view", {"get", "list", "watch"}),
        ("edit", {"create", "delete", "deletecollection", "patch", "update"}),
    ):
        made = chart.one(default, "ClusterRole", f"penstock-system-penstock-{role}")
        assert made["metadata"]["labels"][f"rbac.authorization.k8s.io/aggregate-to-{role}"] == "true"
        assert chart.granted([made]) == {("penstock.dev", kind, verb) for kind in kinds for verb in verbs}
    without = chart.rendered(helm_program, rbac={"create": False, "userRoles": False})
    assert [one for one in chart.of_kind(without, "Role", "ClusterRole", "RoleBinding") if not _is_test(one)] == []


def _asked_for(rules: tuple[permissions.Rule, ...]) -> set[tuple[str, str, str]]:
    return {(rule.group, rule.resource, verb) for rule in rules for verb in rule.verbs}


def _is_test(manifest: chart.Manifest) -> bool:
    return bool(manifest["metadata"].get("annotations", {}).get("helm.sh/hook") == "test")


# Pods.


def test_every_pod_keeps_to_the_restricted_standard(default: list[chart.Manifest], everything: list[chart.Manifest]) -> None:
    """Catches a pod that may write its root, become root, gain rights or keep a capability; the one of `helm test` too."""
    found = [*chart.pods(default), *chart.pods(everything)]
    assert len(found) == 4
    for pod in found:
        spec = pod["spec"]
        assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & spec.keys()
        assert {next(iter(volume.keys() - {"name"})) for volume in spec["volumes"]} <= {"secret", "configMap", "emptyDir"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert container["resources"]["limits"].keys() == {"memory"}
            assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_what_the_operator_is_told_is_what_was_given(everything: list[chart.Manifest]) -> None:
    """Catches a variable of another name, a list joined wrongly, a number that became text or 1.07e+11."""
    told = settings.of_environment(chart.environment(everything))
    assert set(told.images.values()) == {"registry.example/penstock:1.1"}
    assert told.image_pull_secrets == ("registry", "mirror")
    assert told.default_log == api_log.Log.model_validate_json(json.dumps({"type": "Kafka", **chart.EVERYTHING["log"]}))
    assert told.resync_seconds == 60
    assert told.lease == chart.OPERATOR


def test_an_operator_that_was_given_nothing_starts(default: list[chart.Manifest]) -> None:
    """Catches a default that the operator refuses, and a Lease for one that is alone."""
    told = settings.of_environment(chart.environment(default))
    assert (told.namespaces, told.default_log, told.lease) == ((), None, "")
    assert chart.one(default, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}


def test_key_and_probes_are_where_the_operator_has_them(default: list[chart.Manifest]) -> None:
    """Catches a mount beside the key's path, and probes of a port where nobody listens."""
    told = settings.of_environment(chart.environment(default))
    spec = chart.one(default, "Deployment")["spec"]["template"]["spec"]
    [container] = spec["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert f"{mounts['key']}/key" == str(told.key_file)
    [key] = [volume["secret"] for volume in spec["volumes"] if volume["name"] == "key"]
    made = chart.one(default, "Secret", key["secretName"])
    assert made["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    [port] = container["ports"]
    assert told.metrics_address == f"0.0.0.0:{port['containerPort']}"
    for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        assert container[probe]["httpGet"] == {"path": path, "port": port["name"]}


def test_a_key_of_ones_own_is_used_and_none_is_made(helm_program: helm.Helm) -> None:
    """Catches a random key where manifests are rendered again and again."""
    found = chart.rendered(helm_program, tokenKey={"existingSecret": "ours"})
    assert chart.of_kind(found, "Secret") == []
    volumes = chart.one(found, "Deployment")["spec"]["template"]["spec"]["volumes"]
    assert next(one["secret"]["secretName"] for one in volumes if one["name"] == "key") == "ours"


@pytest.mark.parametrize(
    ("image", "data_plane", "operator", "pods"),
    [
        ({}, {}, "penstock.dev/penstock:0.1.0", "penstock.dev/penstock:0.1.0"),
        ({"tag": "2"}, {}, "penstock.dev/penstock:2", "penstock.dev/penstock:2"),
        ({"tag": "2", "digest": _DIGEST}, {}, f"penstock.dev/penstock@{_DIGEST}", f"penstock.dev/penstock@{_DIGEST}"),
        ({"digest": _DIGEST}, {"tag": "1"}, f"penstock.dev/penstock@{_DIGEST}", "penstock.dev/penstock:1"),
        ({}, {"tag": "1", "digest": _DIGEST}, "penstock.dev/penstock:0.1.0", f"penstock.dev/penstock@{_DIGEST}"),
        ({"repository": "a/b", "tag": "2"}, {"repository": "c/d"}, "a/b:2", "c/d:2"),
    ],
)
def test_a_digest_wins_and_pods_get_the_operators_image(
    helm_program: helm.Helm, image: dict[str, str], data_plane: dict[str, str], operator: str, pods: str
) -> None:
    """Catches a tag beside a digest, and the operator's digest under another repository or tag."""
    found = chart.rendered(helm_program, image=image, dataPlaneImage=data_plane)
    containers = [container["image"] for pod in chart.pods(found) for container in pod["spec"]["containers"]]
    assert containers == [operator, operator]
    assert chart.environment(found)["PENSTOCK_IMAGE"] == pods


def test_what_was_given_for_pods_is_in_the_pod(everything: list[chart.Manifest]) -> None:
    """Catches a value that is documented and rendered nowhere."""
    template = chart.one(everything, "Deployment")["spec"]["template"]
    for name in ("priorityClassName", "nodeSelector", "tolerations", "affinity", "imagePullSecrets"):
        assert template["spec"][name] == chart.EVERYTHING[name]
    assert template["metadata"]["annotations"] == {"owner": "data", "note": "x"}
    assert template["metadata"]["labels"]["sidecar"] == "no"
    assert chart.one(everything, "ServiceAccount")["metadata"]["annotations"]["identity.example/role"] == "operator"
    assert chart.one(everything, "Service")["metadata"]["annotations"]["scrape"] == "yes"


def test_labels_of_ones_own_never_move_a_selector(everything: list[chart.Manifest]) -> None:
    """Catches a label that takes the place of ours, and a Service, budget or policy that has the pod of `helm test` too."""
    assert {one["metadata"]["labels"]["team"] for one in everything} == {"data"}
    operator, test = (pod["metadata"]["labels"] for pod in chart.pods(everything))
    selectors = [
        chart.one(everything, "Deployment")["spec"]["selector"]["matchLabels"],
        chart.one(everything, "Service")["spec"]["selector"],
        chart.one(everything, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= operator.items()
        assert not selector.items() <= test.items()


@pytest.mark.parametrize(("kind", "member"), [("PodMonitor", "podMetricsEndpoints"), ("ServiceMonitor", "endpoints")])
def test_a_monitor_finds_the_operators_metrics(helm_program: helm.Helm, kind: str, member: str) -> None:
    """Catches a monitor that selects nothing, or names a port that is not there."""
    found = chart.rendered(helm_program, monitoring={"kind": kind, "labels": {"release": "prometheus"}})
    monitor = chart.one(found, kind)
    selected = chart.one(found, "Service") if kind == "ServiceMonitor" else chart.one(found, "Deployment")["spec"]["template"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= selected["metadata"]["labels"].items()
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"][member] == [{"port": "metrics", "path": "/metrics", "interval": "30s"}]


# Values.


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"watchNamespace": "web"}, "watchNamespace"),
        ({"replicas": "two"}, "/replicas"),
        ({"image": {"digest": "sha256:12"}}, "/image/digest"),
        ({"image": {"repository": "penstock@sha256:12"}}, "/image/repository"),
        ({"watchNamespaces": ["Web"]}, "/watchNamespaces/0"),
        ({"log": {"kafka": {"bootstrapServers": ["kafka"]}}}, "/log/kafka/bootstrapServers/0"),
        ({"log": {"kafka": {"bootstrapServers": []}}}, "/log/kafka/bootstrapServers"),
        ({"log": {"type": "Embedded"}}, "/log/type"),
        ({"log": {"retention": {"hours": 1}}}, "kafka"),
        ({"monitoring": {"kind": "Podmonitor"}}, "/monitoring/kind"),
        ({"resyncSeconds": 1}, "/resyncSeconds"),
        ({"crds": {"keep": True}}, "/crds"),
    ],
)
def test_a_wrong_value_is_refused_and_named(helm_program: helm.Helm, values: dict[str, Any], named: str) -> None:
    """Catches a typing error that would be ignored, and a value that only the operator would refuse, in a crash loop."""
    with pytest.raises(shell.CommandError, match="specifications of the schema") as refused:
        chart.rendered(helm_program, **values)
    assert named in str(refused.value)


def test_the_schema_has_every_value_and_no_other() -> None:
    """Catches a value in one of the two files only."""
    assert _names(_VALUES) == _told(_SCHEMA) - {"global", "resources.claims"}


def test_the_log_of_the_schema_is_the_log_of_a_pipeline() -> None:
    """Catches a field or a bound of `spec.log` that has changed since."""
    model = api_log.Log.model_json_schema(by_alias=True)["$defs"]
    assert _SCHEMA["$defs"] == {name: _bounds(part) for name, part in model.items() if name != "EmbeddedLog"}


def _webhook(program: helm.Helm, **told: Any) -> tuple[list[chart.Manifest], chart.Manifest]:
    found = chart.rendered(program, webhook={"enabled": True, **told})
    [made] = chart.of_kind(found, "ValidatingWebhookConfiguration")
    return found, made


def test_a_webhook_is_made_only_where_it_is_asked_for(default: list[chart.Manifest]) -> None:
    """Catches an operator that waits for a certificate which nobody makes."""
    assert chart.of_kind(default, "ValidatingWebhookConfiguration") == []
    assert not {"PENSTOCK_WEBHOOK", "PENSTOCK_WEBHOOK_CERTIFICATE"} & chart.environment(default).keys()


def test_the_webhook_s_certificate_is_the_one_the_cluster_trusts(helm_program: helm.Helm) -> None:
    """Catches a certificate and an authority of two renders, another name than the Service's, and a cluster that stands still
    when the operator is away."""
    found, made = _webhook(helm_program, certificate="Generated")
    [hook] = made["webhooks"]
    secret = chart.one(found, "Secret", "penstock-operator-webhook")
    assert hook["clientConfig"]["caBundle"] == secret["data"]["tls.crt"]
    assert hook["clientConfig"]["service"]["name"] == chart.one(found, "Service", "penstock-operator-webhook")["metadata"]["name"]
    assert (hook["failurePolicy"], hook["timeoutSeconds"], hook["sideEffects"]) == ("Ignore", 10, "None")
    assert chart.environment(found)["PENSTOCK_WEBHOOK"] == "0.0.0.0:9443"
    spec = chart.one(found, "Deployment")["spec"]["template"]["spec"]
    assert {"name": "webhook", "containerPort": 9443, "protocol": "TCP"} in spec["containers"][0]["ports"]
    assert [one["secret"]["secretName"] for one in spec["volumes"] if one["name"] == "webhook"] == ["penstock-operator-webhook"]
    assert "namespaceSelector" not in hook


def test_a_webhook_with_cert_manager_or_a_secret_of_ones_own(helm_program: helm.Helm) -> None:
    """Catches a Secret that nobody makes, an authority that is not filled in, and one that is missing without a word."""
    found, made = _webhook(helm_program, certificate="CertManager")
    assert made["metadata"]["annotations"]["cert-manager.io/inject-ca-from"] == "penstock-system/penstock-operator-webhook"
    [certificate] = chart.of_kind(found, "Certificate")
    assert certificate["spec"]["issuerRef"] == {"kind": "Issuer", "name": "penstock-operator-webhook"}
    assert len(chart.of_kind(found, "Issuer")) == 1
    found, _ = _webhook(helm_program, certificate="CertManager", issuerRef={"kind": "ClusterIssuer", "name": "internal"})
    assert chart.of_kind(found, "Issuer") == []
    _, made = _webhook(helm_program, certificate="Secret", existingSecret="mine", caBundle="QQ==")
    assert made["webhooks"][0]["clientConfig"]["caBundle"] == "QQ=="
    with pytest.raises(shell.CommandError, match=r"webhook\.caBundle"):
        _webhook(helm_program, certificate="Secret", existingSecret="mine")


def test_helm_test_makes_its_pipeline_where_the_operator_looks_and_nowhere_else(helm_program: helm.Helm) -> None:
    """Catches a pipeline that nobody takes up, and rights that are given where no pipeline is made."""
    log = {"kafka": {"bootstrapServers": ["kafka:9092"]}}
    for watched, where in (([], chart.NAMESPACE), (["web", "shop"], "web")):
        found = chart.rendered(helm_program, log=log, watchNamespaces=watched)
        [pod] = chart.of_kind(found, "Pod")
        assert f"--own={where}/helm-test" in pod["spec"]["containers"][0]["args"]
        assert _granted(found)[where] == [(None, ["create"]), (["helm-test"], ["get", "delete"])]
        assert set(_granted(found)) == {where, chart.NAMESPACE}
    for values in ({"log": log, "test": {"ownPipeline": False}}, {"log": log, "test": {"pipeline": "clicks"}}, {}):
        found = chart.rendered(helm_program, **values)
        assert not [one for rules in _granted(found).values() for one in rules if one[0] == ["helm-test"]]


def test_helm_test_may_see_the_pipeline_it_is_told_of_and_no_other(helm_program: helm.Helm) -> None:
    """Catches rights on all pipelines, and a role that takes the place of another one in the same namespace."""
    create, see = (None, ["create"]), (["clicks"], ["get"])
    found = chart.rendered(helm_program, test={"pipeline": "clicks", "namespace": "web"})
    assert _granted(found) == {chart.NAMESPACE: [create], "web": [see]}
    assert _granted(chart.rendered(helm_program, test={"pipeline": "clicks"})) == {chart.NAMESPACE: [create, see]}


def test_every_hook_of_helm_test_has_the_name_of_its_pod(helm_program: helm.Helm) -> None:
    """Catches `helm test --logs` that passes and ends with 1: it asks for the logs of a pod of each hook's name."""
    found = chart.rendered(helm_program, log={"kafka": {"bootstrapServers": ["kafka:9092"]}}, watchNamespaces=["web"])
    hooks = [one for one in found if "helm.sh/hook" in one["metadata"].get("annotations", {})]
    assert {one["metadata"]["name"] for one in hooks} == {"penstock-test"}
    assert len(hooks) == 7


def _granted(found: list[dict[str, Any]]) -> dict[str, list[tuple[list[str] | None, list[str]]]]:
    """What the test's pod may do with pipelines, by namespace: which ones, and what."""
    bound = {
        one["metadata"]["namespace"] for one in chart.of_kind(found, "RoleBinding") if one["roleRef"]["name"] == "penstock-test"
    }
    roles = [one for one in chart.of_kind(found, "Role") if one["metadata"]["name"] == "penstock-test"]
    assert {one["metadata"]["namespace"] for one in roles} == bound
    told = {one["metadata"]["namespace"]: one["rules"] for one in roles}
    return {where: [(rule.get("resourceNames"), rule["verbs"]) for rule in rules] for where, rules in told.items()}


def test_lint_finds_nothing(helm_program: helm.Helm) -> None:
    """Catches what Helm's own checks find."""
    assert "[WARNING]" not in helm_program.run("lint", "--strict", "--kube-version=v1.34.4", str(chart.CHART))


def _names(values: dict[str, Any], path: str = "") -> set[str]:
    found = set()
    for name, value in values.items():
        # Quantities are Kubernetes' own; the schema leaves them open.
        deeper = isinstance(value, dict) and value and path != "resources."
        found |= _names(value, f"{path}{name}.") if deeper else {f"{path}{name}"}
    return found


def _told(schema: dict[str, Any], path: str = "") -> set[str]:
    found = set()
    for name, part in schema["properties"].items():
        found |= _told(part, f"{path}{name}.") if part.get("properties") and name != "log" else {f"{path}{name}"}
    return found


def _bounds(part: Any) -> Any:
    """A model's schema without defaults and texts. What may be null may as well be left out in values."""
    if isinstance(part, list):
        return [_bounds(one) for one in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return {"$ref": part["$ref"]}
    if "anyOf" in part:
        [arm] = [one for one in part["anyOf"] if one != {"type": "null"}]
        return _bounds(arm)
    return {name: _bounds(value) for name, value in part.items() if name not in ("title", "description", "default")}
