"""The chart in a real Kubernetes API: installed, upgraded, uninstalled, with a pipeline that outlives all of it.

No pod runs here, so what `helm test` starts in a pod is started beside it, with the pod's rights and no more.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from e2e.cluster import shell
from tests.integration import chart
from tests.servers import helm, kubernetes, process

from penstock.cli import background
from penstock_operator import permissions

_KINDS = ("batchpipelines.penstock.dev", "deadletterreplays.penstock.dev")
_WEB = "web"
_INSIDE = f"--namespace={chart.NAMESPACE}"
_LOG = "log.kafka.bootstrapServers={kafka:9092}"
_PATIENCE_SECONDS = 60.0


class _Release:
    """What Helm and kubectl say of it."""

    def __init__(self, program: helm.Helm, server: kubernetes.Kubernetes) -> None:
        self.helm, self.server = program.of(server.kubeconfig), server

    def change(self, verb: str, *settings: str, source: pathlib.Path = chart.CHART) -> None:
        """Install or upgrade with these settings."""
        told = [word for setting in settings for word in ("--set", setting)]
        self.helm.run(verb, chart.RELEASE, str(source), _INSIDE, *told)

    def get(self, kind: str, name: str, namespace: str = chart.NAMESPACE) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.server.kubectl("get", kind, name, f"--namespace={namespace}", "-o", "json"))
        return found

    def key(self) -> str:
        return str(self.get("secret", "penstock-operator-key")["data"]["key"])

    def columns(self) -> list[str]:
        [version] = self.get("crd", _KINDS[1])["spec"]["versions"]
        return [column["name"] for column in version["additionalPrinterColumns"]]

    def may(self, verb: str, resource: str, user: str, namespace: str = "") -> bool:
        everywhere = f"--namespace={namespace}" if namespace else "--all-namespaces"
        try:
            return self.server.kubectl("auth", "can-i", verb, resource, f"--as={user}", everywhere).strip() == "yes"
        except shell.CommandError:
            return False


@pytest.fixture(scope="module")
def release(helm_program: helm.Helm, own_kubernetes: kubernetes.Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> _Release:
    """Installed into a namespace under the restricted standard, beside one for pipelines; with a definition of some time ago."""
    older = tmp_path_factory.mktemp("older") / "penstock"
    shutil.copytree(chart.CHART, older)
    replays = older / "files" / "crds" / "deadletterreplays.yaml"
    replays.write_text(replays.read_text().replace("    - name: Landed\n", "    - name: Back\n"))
    for namespace in (chart.NAMESPACE, _WEB):
        own_kubernetes.kubectl("create", "namespace", namespace)
    own_kubernetes.kubectl("label", "namespace", chart.NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    made = _Release(helm_program, own_kubernetes)
    made.change("install", _LOG, source=older)
    own_kubernetes.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", *_KINDS)
    return made


def _until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_the_operators_pod_is_let_in(release: _Release) -> None:
    """Catches a pod that the restricted standard refuses, and an account or a mount that is not there."""
    _until(lambda: release.get("deployment", chart.OPERATOR).get("status", {}).get("replicas") == 1, "no pod was made")
    conditions = release.get("deployment", chart.OPERATOR)["status"].get("conditions", [])
    assert "ReplicaFailure" not in {one["type"] for one in conditions}
    assert len(base64.b64decode(release.key())) >= 32


@pytest.mark.parametrize(
    "values", [{}, chart.EVERYTHING, {"watchNamespaces": [_WEB]}], ids=["default", "everything", "namespaced"]
)
def test_every_object_is_taken_as_it_is_written(release: _Release, helm_program: helm.Helm, values: dict[str, Any]) -> None:
    """Catches a misspelt field, which Helm sends and an API server drops without a word, and a value of a wrong form."""
    # The pod of `helm test` needs its account; below it is made in earnest.
    items = [one for one in chart.rendered(helm_program, **values) if one["kind"] != "Pod"]
    found = {"apiVersion": "v1", "kind": "List", "items": items}
    how = ("--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict")
    release.server.kubectl("apply", *how, "-f", "-", stdin=json.dumps(found))


def test_the_account_has_its_rights_and_no_others(release: _Release) -> None:
    """Catches a binding to another account, and rights that came in by another way."""
    wanted = {_shown(rule): set(rule.verbs) for rule in permissions.IN_WATCHED_NAMESPACES}
    # What was granted a moment ago is not known at once.
    _until(lambda: wanted.keys() <= _rights(release).keys(), "some rights are missing")
    ours = _rights(release)
    assert {name: verbs for name, verbs in ours.items() if not name.endswith("reviews.authentication.k8s.io")} == wanted


def _rights(release: _Release) -> dict[str, set[str]]:
    user = f"system:serviceaccount:{chart.NAMESPACE}:{chart.OPERATOR}"
    listed = release.server.kubectl("auth", "can-i", "--list", f"--as={user}", f"--namespace={_WEB}", "--no-headers")
    lines = [line for line in listed.splitlines() if not line.startswith(("self", " "))]
    return {line.split()[0]: set(line[line.rindex("[") :].strip("[]").split()) for line in lines}


def _shown(rule: permissions.Rule) -> str:
    resource, _, subresource = rule.resource.partition("/")
    return f"{resource}{'.' if rule.group else ''}{rule.group}{f'/{subresource}' if subresource else ''}"


def test_a_user_of_a_namespace_may_use_both_kinds_in_it(release: _Release) -> None:
    """Catches roles that are not added to those that people have."""
    for who in ("view", "edit"):
        release.server.kubectl("create", "rolebinding", who, f"--clusterrole={who}", f"--user={who}r", f"--namespace={_WEB}")
    _until(lambda: release.may("create", "batchpipelines.penstock.dev", "editr", _WEB), "an editor may not create pipelines")
    _until(lambda: release.may("list", "deadletterreplays.penstock.dev", "viewr", _WEB), "a viewer does not see replays")
    _until(lambda: release.may("get", "batchpipelines.penstock.dev", "editr", _WEB), "an editor does not see pipelines")
    assert not release.may("update", "batchpipelines.penstock.dev", "viewr", _WEB)
    assert not release.may("create", "batchpipelines.penstock.dev", "editr", chart.NAMESPACE)


def test_the_first_pipeline_of_the_notes_is_taken(release: _Release) -> None:
    """Catches notes whose first command fails."""
    notes = release.helm.run("get", "notes", chart.RELEASE, _INSIDE)
    described = yaml.safe_load(notes.split("<<'END'\n")[1].split("\nEND")[0])
    assert "log" not in described["spec"]
    described["metadata"]["namespace"] = _WEB
    release.server.kubectl("apply", "-f", "-", stdin=json.dumps(described))
    assert "kubectl wait --namespace default --for=condition=Ready --timeout=5m bp/first" in notes


class _Door(http.server.BaseHTTPRequestHandler):
    """The operator's page, and the door of a pipeline whose ledger goes up with each event."""

    release: _Release
    events: list[Any]
    answer = 202

    def do_GET(self) -> None:
        self._say(200)

    def do_POST(self) -> None:
        self.events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        if self.answer == 202:
            _say_status(self.release, read=len(self.events))
        self._say(self.answer)

    def _say(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Not to the terminal."""


def _say_status(release: _Release, *, read: int, ready: str = "True") -> None:
    told = {
        "message": "told by a test",
        "conditions": [
            {"type": "Ready", "status": ready, "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-31T08:00:00Z"}
        ],
        "lanes": [{"sink": "rows", "ledger": {"events": {"read": read}}}],
    }
    patch = ("--subresource=status", "--type=merge", "-p", json.dumps({"status": told}))
    release.server.kubectl("patch", "bp", "first", f"--namespace={_WEB}", *patch)


@contextlib.contextmanager
def _serving(release: _Release, answer: int, door: type[_Door] = _Door) -> Iterator[tuple[str, list[Any]]]:
    members = {"release": release, "events": (events := list[Any]()), "answer": answer}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Door", (door,), members)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", events
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def account(release: _Release, helm_program: helm.Helm, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The account of the pod of `helm test`, as it finds it."""
    asked = {"test": {"pipeline": "first", "namespace": _WEB, "event": {"hello": 1}}}
    hooks = [one for one in chart.rendered(helm_program, **asked) if "helm.sh/hook" in one["metadata"].get("annotations", {})]
    release.server.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": hooks}))
    folder = tmp_path_factory.mktemp("account")
    (folder / "token").write_text(release.server.kubectl("create", "token", "penstock-test", _INSIDE).strip())
    (folder / "ca.crt").write_bytes(release.server.authority.read_bytes())
    return folder


def _checked(release: _Release, account: pathlib.Path, url: str, seconds: int = 60) -> tuple[int, list[str]]:
    """What the pod does, with its own program and arguments; only addresses are others."""
    script = release.get("configmap", "penstock-test")["data"]["check.py"]
    [container] = release.get("pod", "penstock-test")["spec"]["containers"]
    own = [f"--server={release.server.url}", f"--account={account}", f"--operator={url}", f"--door={url}"]
    command = [sys.executable, "-c", script, *container["args"], *own, f"--timeout-seconds={seconds}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, (done.stdout + done.stderr).splitlines()


def test_helm_test_sends_one_event_and_finds_it(release: _Release, account: pathlib.Path) -> None:
    """Catches a test that passes without an event, and a right that its pod lacks."""
    _say_status(release, read=0)
    with _serving(release, 202) as (url, events):
        code, said = _checked(release, account, url)
    assert (code, events) == (0, [{"hello": 1}]), said
    assert said == [
        "both kinds are served",
        "a right pipeline is taken, a wrong one refused at its field (neither was made)",
        "the operator is ready",
        "one event was acknowledged and is in the ledger of rows",
    ]
    assert release.server.kubectl("get", "bp", "--all-namespaces", "-o", "name").split() == ["batchpipeline.penstock.dev/first"]


@pytest.mark.parametrize(
    ("answer", "ready", "said"),
    [
        (400, "True", "FAILED: the event was not taken (400): {}"),
        (203, "False", "FAILED: the pipeline's Ready is False: told by a test"),
    ],
)
def test_helm_test_fails_and_says_why(release: _Release, account: pathlib.Path, answer: int, ready: str, said: str) -> None:
    """Catches a test that is content with less."""
    _say_status(release, read=0, ready=ready)
    with _serving(release, answer) as (url, _):
        code, lines = _checked(release, account, url)
    assert (code, lines[-1]) == (1, said)


class _OwnDoor(_Door):
    """The operator's page, and both ends of a pipeline that somebody else has made: what comes in is landed at once."""

    def do_POST(self) -> None:
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.events.append(event)
        found = self.release.get("bp", "helm-test")
        request = urllib.request.Request(found["spec"]["sinks"][0]["http"]["url"], data=json.dumps(event).encode())
        with urllib.request.urlopen(request, timeout=30):
            self._say(202)


def test_helm_test_sends_one_event_through_a_pipeline_of_its_own_and_takes_it_away(
    release: _Release, helm_program: helm.Helm, account: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Catches a test of the installation that needs a store, a right that its pod lacks, and a pipeline that stays behind; also
    one of an earlier test, which is in the way."""
    hooks = [
        one
        for one in chart.rendered(helm_program, log={"kafka": {"bootstrapServers": ["kafka:9092"]}})
        if "helm.sh/hook" in one["metadata"].get("annotations", {})
    ]
    [pod] = chart.of_kind(hooks, "Pod")
    given = {"apiVersion": "v1", "kind": "List", "items": [one for one in hooks if one is not pod]}
    release.server.kubectl("apply", "-f", "-", stdin=json.dumps(given))
    spec = {"log": {"type": "Kafka", "kafka": {"bootstrapServers": ["k:1"]}}, "sinks": [_HTTP]}
    left = {"apiVersion": "penstock.dev/v1alpha1", "kind": "BatchPipeline", "metadata": {"name": "helm-test"}, "spec": spec}
    release.server.kubectl("apply", _INSIDE, "-f", "-", stdin=json.dumps(left))
    stop = threading.Event()
    operator = threading.Thread(target=_say_ready, args=(release, stop))
    operator.start()
    try:
        with _serving(release, 202, _OwnDoor) as (url, events):
            arguments = [one for one in pod["spec"]["containers"][0]["args"] if not one.startswith("--address")]
            own = [f"--server={release.server.url}", f"--account={account}", f"--operator={url}", f"--door={url}"]
            script = release.get("configmap", "penstock-test")["data"]["check.py"]
            command = [sys.executable, "-c", script, *arguments, *own, "--address=127.0.0.1", "--port=0"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    finally:
        stop.set()
        operator.join()
    assert (done.returncode, len(events)) == (0, 1), done.stdout + done.stderr
    assert "one event went through a pipeline of the test's own" in done.stdout
    assert "helm-test" not in release.server.kubectl("get", "bp", _INSIDE, "-o", "name")


_HTTP = {"name": "old", "type": "HTTP", "http": {"url": "http://store:1/"}}


def _say_ready(release: _Release, stop: threading.Event) -> None:
    """What an operator would say of the pipeline that the test makes."""
    ready = {"type": "Ready", "status": "True", "reason": "Accepting", "message": ""}
    told = {"conditions": [{**ready, "lastTransitionTime": "2026-01-31T08:00:00Z"}]}
    patch = ("--subresource=status", "--type=merge", "-p", json.dumps({"status": told}))
    while not stop.wait(0.5):
        with contextlib.suppress(shell.CommandError):
            release.server.kubectl("patch", "bp", "helm-test", _INSIDE, *patch)


def test_without_a_log_helm_test_says_that_no_event_was_sent(
    release: _Release, helm_program: helm.Helm, account: pathlib.Path
) -> None:
    """Catches a test that fails, or is silent, where there is nothing an event could go through."""
    [pod] = [one for one in chart.rendered(helm_program) if one["kind"] == "Pod"]
    assert not any(one.startswith(("--own", "--pipeline")) for one in pod["spec"]["containers"][0]["args"])
    with _serving(release, 202) as (url, events):
        script = release.get("configmap", "penstock-test")["data"]["check.py"]
        told = [*pod["spec"]["containers"][0]["args"], f"--server={release.server.url}", f"--account={account}"]
        command = [sys.executable, "-c", script, *told, f"--operator={url}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, events) == (0, [])
    assert done.stdout.splitlines()[-1].startswith("SKIPPED: no event is sent")


def test_the_operator_works_with_what_the_chart_gives_it(release: _Release, tmp_path: pathlib.Path) -> None:
    """Catches a variable, a key or a right that only shows when the operator starts: here beside its pod, as its account."""
    [container] = release.get("deployment", chart.OPERATOR)["spec"]["template"]["spec"]["containers"]
    told = {entry["name"]: entry.get("value", chart.NAMESPACE) for entry in container["env"]}
    (tmp_path / "key").write_bytes(base64.b64decode(release.key()))
    port = background.free_port()
    own = {
        "KUBECONFIG": str(release.server.as_service_account(chart.NAMESPACE, chart.OPERATOR)),
        "PENSTOCK_KEY_FILE": str(tmp_path / "key"),
        "PENSTOCK_METRICS": f"127.0.0.1:{port}",
    }
    command = [sys.executable, *container["command"][1:]]
    ready = f"http://127.0.0.1:{port}{container['readinessProbe']['httpGet']['path']}"
    since = release.server.mark()
    operator = process.Process(command, tmp_path / "log", lambda: _answers(ready), environment={**os.environ, **told, **own})
    operator.start()
    try:
        _until(lambda: _names(release, "deployment") == {"first-ingest", "first--rows-batcher", "first--rows-sink"}, "no pods")
    finally:
        operator.stop()
    user = f"system:serviceaccount:{chart.NAMESPACE}:{chart.OPERATOR}"
    refused = [one for one in release.server.requests(since) if one.user == user and one.code == 403]
    assert refused == []
    accepted = release.get("configmap", "first-accepted", _WEB)["data"]["pipeline.json"]
    assert json.loads(accepted)["spec"]["log"]["kafka"]["bootstrapServers"] == ["kafka:9092"]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _names(release: _Release, kind: str) -> set[str]:
    found = release.server.kubectl("get", kind, f"--namespace={_WEB}", "-o", "name")
    return {line.partition("/")[2] for line in found.split()}


def test_an_upgrade_keeps_the_key_and_makes_what_is_new(release: _Release) -> None:
    """Catches a key that changes, so that the operator loses its pipelines; definitions that stay; a Lease without rights."""
    before = release.key()
    assert "Landed" not in release.columns()
    release.change("upgrade", _LOG, "replicas=2", "image.tag=0.1.1", "networkPolicy.enabled=true")
    assert release.key() == before
    assert "Landed" in release.columns()
    assert release.get("deployment", chart.OPERATOR)["spec"]["replicas"] == 2
    assert release.get("networkpolicy", chart.OPERATOR)["spec"]["policyTypes"] == ["Ingress", "Egress"]
    user = f"system:serviceaccount:{chart.NAMESPACE}:{chart.OPERATOR}"
    _until(lambda: release.may("update", "leases.coordination.k8s.io", user, chart.NAMESPACE), "nobody may take the Lease")
    assert not release.may("update", "leases.coordination.k8s.io", user, _WEB)


def test_an_uninstall_leaves_pipelines_and_the_next_install_finds_them(release: _Release) -> None:
    """Catches definitions or a key that go with the chart, and ones it can't take over when it comes back."""
    before = release.key(), release.get("bp", "first", _WEB)["metadata"]["uid"]
    release.helm.run("uninstall", chart.RELEASE, _INSIDE)
    with pytest.raises(shell.CommandError, match="NotFound"):
        release.get("deployment", chart.OPERATOR)
    assert (release.key(), release.get("bp", "first", _WEB)["metadata"]["uid"]) == before
    release.change("install", f"watchNamespaces={{{_WEB}}}")
    assert (release.key(), release.get("bp", "first", _WEB)["metadata"]["uid"]) == before
    user = f"system:serviceaccount:{chart.NAMESPACE}:{chart.OPERATOR}"
    _until(lambda: release.may("list", "pods", user, _WEB), "it may not look after the namespace")
    _until(lambda: not release.may("list", "pods", user, chart.NAMESPACE), "it may look after others")
