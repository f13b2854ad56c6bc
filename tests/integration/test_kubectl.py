"""`kubectl penstock` as a user has it: the real kubectl finds it on the PATH, over a real API server with the operator in it.

Where no kubelet is, what a pod would answer is told by `kubectl_stub`; everything else is the real one.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
from tests.integration import job_pods, operating, test_operator_replay
from tests.servers import fixtures, kubernetes
from tests.unit.operator import cluster as examples

from penstock.v1 import control_pb2, control_pb2_grpc

operator = test_operator_replay.operator
world = test_operator_replay.world

_ROOT = pathlib.Path(__file__).parents[2]
_PASSWORD = "s3cr3t-of-clickhouse"
_PLANTED = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzb21lYm9keSJ9.c2lnbmF0dXJlLW9mLWl0"


class _Lane(control_pb2_grpc.ControlServicer):
    """What a batcher says, to who has the token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def Status(self, request: Any, context: grpc.ServicerContext) -> control_pb2.StatusResponse:  # noqa: N802
        if dict(context.invocation_metadata()).get("authorization") != f"Bearer {self._token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
        lane = control_pb2.LaneStatus(sink="warehouse", state="Running", circuit="Closed", message=f"login {_PASSWORD}")
        return control_pb2.StatusResponse(namespace="web", pipeline="clicks", lifecycle="Running", uptime_seconds=5, lanes=[lane])


class _Metrics(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"penstock_lane_lag_events 0\n")

    def log_message(self, *_: object) -> None: ...


class User:
    """Somebody at a terminal, with a kubeconfig."""

    def __init__(self, world: operating.World, folder: pathlib.Path, kubeconfig: pathlib.Path) -> None:
        self.world, self.folder = world, folder
        self.log = "all is well"
        programs = folder / "bin"
        programs.mkdir(parents=True)
        self._script(programs / "kubectl-penstock", "-m penstock.cli.kubectl.main")
        self._script(programs / "kubectl", str(pathlib.Path(__file__).with_name("kubectl_stub.py")))
        self.real = str(world.server.plan.programs / "kubectl")
        self.environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(str(_ROOT / name) for name in ("services", "operator")),
            "KUBECONFIG": str(kubeconfig),
            "STUB": str(folder / "stub.json"),
        }
        self.forward: dict[str, int] = {}

    def _script(self, path: pathlib.Path, what: str) -> None:
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {what} "$@"\n')
        path.chmod(0o755)

    def says(self, *arguments: str, code: int = 0, stdin: str = "", namespace: str | None = None) -> str:
        """What `kubectl penstock …` prints; it must end with `code`."""
        told = {"kubectl": self.real, "forward": self.forward, "log": self.log, "calls": str(self.folder / "calls")}
        (self.folder / "stub.json").write_text(json.dumps(told))
        verb, *rest = arguments
        where = [] if namespace == "" else ["-n", namespace or self.world.namespace]
        done = subprocess.run(
            [self.real, "penstock", verb, *where, *rest],
            env=self.environment,
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=operating.PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]


@pytest.fixture
def user(world: operating.World, tmp_path: pathlib.Path) -> User:
    return User(world, tmp_path / "user", world.server.kubeconfig)


def _up(world: operating.World, **spec: Any) -> None:
    world.apply(**spec)
    operating.until(lambda: _all_ready(world), "all pods are ready")


def _all_ready(world: operating.World) -> bool:
    world.make_ready()
    return world.is_("Ready", "True") and world.is_("Reconciling", "False")


def _file(world: operating.World, **spec: Any) -> str:
    made = examples.pipeline(**spec)
    made["metadata"] = {"name": "clicks", "namespace": world.namespace}
    return json.dumps(made)


_SCHEMA = {"fields": [{"name": "id", "type": "String"}]}


def test_a_pipeline_is_shown_planned_held_and_let_go_on(world: operating.World, user: User) -> None:
    """Catches a plan that is not what the operator does, one that changes something, and a pause that reaches no object."""
    assert "no pipeline clicks" in user.says("status", "clicks", code=1)
    _up(world)
    said = user.says("status", "clicks")
    assert f"{world.namespace}/clicks" in said
    assert "clicks--warehouse-batcher" in said
    assert "warehouse" in user.says("explain", "clicks")
    assert "clicks" in user.says("status")

    assert "nothing would change" in user.says("plan", "-f", "-", stdin=_file(world))
    edit = {"pods": {"annotations": {"note": "two"}}}
    before = world.get("BatchPipeline", "clicks")["metadata"]["resourceVersion"]
    said = user.says("plan", "-f", "-", stdin=_file(world, **edit))
    order = [said.index(f"roll out Deployment clicks{one}") for one in ("--warehouse-sink", "--warehouse-batcher", "-ingest")]
    assert order == sorted(order), said
    assert "spec.template.metadata.annotations" in said
    assert world.get("BatchPipeline", "clicks")["metadata"]["resourceVersion"] == before
    said = user.says(
        "plan", "-f", "-", stdin=_file(world, schema=_SCHEMA, transform={"filter": {"expression": "lower("}}), code=1
    )
    assert "spec.transform.filter.expression" in said
    assert "what runs now goes on" in said
    assert "spec.sinks" in user.says("plan", "-f", "-", stdin=_file(world, sinks=[]), code=1)

    assert "Paused" in user.says("pause", "clicks", "--sink", "warehouse")
    assert world.get("BatchPipeline", "clicks")["spec"]["sinks"][0]["lifecycle"] == "Paused"
    assert "it has warehouse" in user.says("pause", "clicks", "--sink", "depot", code=1)
    user.says("resume", "clicks", "--sink", "warehouse")
    assert world.get("BatchPipeline", "clicks")["spec"]["sinks"][0]["lifecycle"] == "Running"
    user.says("pause", "clicks")
    assert world.get("BatchPipeline", "clicks")["spec"]["lifecycle"] == "Paused"
    user.says("resume", "clicks")


def test_a_pipeline_goes_only_when_its_name_was_said_twice(world: operating.World, user: User) -> None:
    """Catches a delete that asks nobody, one that drains and does not wait, and a purge whose Job no cluster takes, or that
    deletes the object although the topics are there."""
    _up(world)
    assert "say --yes clicks" in user.says("delete", "clicks", code=1)
    assert "another name" in user.says("purge", "clicks", "--yes", "click", code=1)
    assert "not drained after 1 s" in user.says("delete", "clicks", "--drain", "--timeout", "1", "--yes", "clicks", code=3)
    assert world.get("BatchPipeline", "clicks")["spec"]["lifecycle"] == "Draining"

    for code in (1, 0):
        with futures.ThreadPoolExecutor() as pool:
            said = pool.submit(user.says, "purge", "clicks", "--yes", "clicks", code=code)
            pod = operating.until(lambda: _purging(world) or _gone(world), "the Job's pod")
            assert pod["spec"]["containers"][0]["args"][0] == "purge"
            assert pod["spec"]["containers"][0]["image"] == "registry.example/penstock@sha256:1"
            assert world.get("BatchPipeline", "clicks")["spec"]["lifecycle"] == "Stopped"
            while not said.done():
                for one in (_purging(world),):
                    if one:
                        job_pods.ended(world, one["metadata"]["name"], code)
            assert ("is deleted" in said.result()) == (code == 0)
        assert ("clicks" in world.items("BatchPipeline")) == (code == 1)
        if code:
            world.request("DELETE", world.place("Job", "clicks-purge"), {"propagationPolicy": "Background"})
            operating.until(lambda: not world.items("Job"))


def _purging(world: operating.World) -> dict[str, Any] | None:
    found = [one for name, one in world.items("Pod").items() if name.startswith("clicks-purge-")]
    running = [one for one in found if one.get("status", {}).get("phase") not in ("Succeeded", "Failed")]
    return running[0] if running else None


def _gone(world: operating.World) -> None:
    """Pods of Deployments that were told to end have no kubelet to wait for."""


def _server(token: str) -> tuple[grpc.Server, int]:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    control_pb2_grpc.add_ControlServicer_to_server(_Lane(token), server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


@pytest.fixture(scope="module")
def answering(
    operator: operating.Operator, kubernetes_server: kubernetes.Kubernetes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[User]:
    """Every pod answers; its Secrets hold what must never leave the cluster. Nobody changes it, so it is one for all."""
    with (
        fixtures.namespace(kubernetes_server) as namespace,
        test_operator_replay.inhabited(kubernetes_server, operator, namespace) as world,
    ):
        user = User(world, tmp_path_factory.mktemp("answering") / "user", kubernetes_server.kubeconfig)
        with _answers(world, user):
            yield user


@contextlib.contextmanager
def _answers(world: operating.World, user: User) -> Iterator[None]:
    made = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ch", "namespace": world.namespace}}
    world.request("POST", world.place("Secret"), {**made, "stringData": {"password": _PASSWORD, "username": "reader"}})
    _up(world)
    token = base64.b64decode(world.get("Secret", "clicks-token")["data"]["token"]).decode()
    server, port = _server(token)
    metrics = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Metrics)
    threading.Thread(target=metrics.serve_forever, daemon=True).start()
    user.forward = {"9465": port, "9464": metrics.server_port}
    user.log = f"connecting as reader:{_PASSWORD}\nAuthorization: Bearer {token}\nfound {_PLANTED} kept-word"
    try:
        yield
    finally:
        server.stop(0)
        metrics.shutdown()
        metrics.server_close()


def test_pods_are_asked_and_a_bundle_holds_everything_but_secrets(answering: User) -> None:
    """Catches a bundle that lacks what is needed, or in which a password or a token stands, in whatever form."""
    user, world = answering, answering.world
    assert "warehouse" in user.says("top", "clicks", "--once", "--every", "0.1")
    assert json.loads(user.says("top", "clicks", "-o", "json"))["lanes"][0]["sink"] == "warehouse"
    for arguments in (("where", "clicks", "id=a"), ("dlq", "clicks", "ls", "--limit", "3")):
        assert "said in the pod" in user.says(*arguments)
    [into_where, into_dlq] = [one for one in user.calls() if "exec" in one]
    assert into_where[into_where.index("--") + 1 :][:2] == ["penstock", "where"]
    assert into_dlq[-3:] == ["/var/run/penstock/secrets", "--limit", "3"]
    user.says("dlq", "clicks", "export", "letters.ndjson")
    assert (user.folder / "letters.ndjson").read_text() == "said in the pod\n"

    said = user.says("support-bundle", "clicks", "--to", "all.tar.gz")
    with tarfile.open(user.folder / "all.tar.gz") as archive:
        files = {one.name.split("/", 1)[1]: archive.extractfile(one).read().decode() for one in archive}  # type: ignore[union-attr]
    assert files["errors.txt"].strip() == "", said
    folders = {name.split("/")[0] for name in files}
    assert {"pipeline.json", "children.json", "events.txt", "logs", "metrics", "status", "versions.txt"} <= folders
    everything = "\n".join(files.values())
    assert "kept-word" in everything
    assert "penstock_lane_lag_events 0" in everything
    token = base64.b64decode(world.get("Secret", "clicks-token")["data"]["token"]).decode()
    for secret in (_PASSWORD, token, _PLANTED, base64.b64encode(_PASSWORD.encode()).decode()):
        assert secret not in everything
        assert secret not in said


def test_what_is_missing_is_said(answering: User, tmp_path: pathlib.Path) -> None:
    """Catches an error of kubectl's that is passed on as it is, and a right that the user can't guess."""
    world = answering.world
    rules = [{"apiGroups": ["penstock.dev"], "resources": ["*"], "verbs": ["get", "list"]}]
    rules += [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]
    metadata = {"name": "reader", "namespace": world.namespace}
    made = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": world.namespace}],
        },
    ]
    server: kubernetes.Kubernetes = world.server
    server.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": made}))
    reader = User(world, tmp_path / "reader", server.as_service_account(world.namespace, "reader"))
    assert "clicks" in reader.says("status", "clicks")
    said = reader.says("top", "clicks", "--once", code=1)
    assert "you may not read the Secret clicks-token" in said
    assert "ask for `get`" in said
    assert "you may not patch batchpipelines.penstock.dev" in reader.says("pause", "clicks", code=1)
    said = reader.says("support-bundle", "clicks", "--to", "some.tar.gz")
    assert "could not be had" in said

    away = tmp_path / "away.kubeconfig"
    away.write_text(server.kubeconfig.read_text().replace(server.url, "https://127.0.0.1:1"))
    nowhere = User(world, tmp_path / "nowhere", away)
    assert "does not answer" in nowhere.says("status", "clicks", code=3)
