"""A real Kubernetes API: etcd, API server, controllers. Objects are stored, checked, owned and collected; no pod ever runs.

It listens on 127.0.0.1 and needs neither root nor containers. RBAC is on: `as_service_account` gives what a pod would have.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import pathlib
import ssl
import time
import urllib.request
import uuid
from collections.abc import Iterator

from e2e.cluster import shell
from e2e.cluster.local import control_plane, identities
from tests.servers import process

from penstock.cli import background

_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.05
_ADDRESS = "127.0.0.1"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request the API server has answered, as its audit log tells it. `resource` has the subresource: "pods/status"."""

    user: str
    verb: str
    resource: str
    namespace: str
    name: str
    code: int

    @property
    def writes(self) -> bool:
        return self.verb not in ("get", "list", "watch")


class Kubernetes:
    """`kubeconfig` is the admin's, `url` and `authority` what any client needs; `api` is the API server's process."""

    def __init__(self, programs: pathlib.Path, directory: pathlib.Path) -> None:
        self.plan = plan = control_plane.Plan(
            programs=programs,
            directory=directory,
            address=_ADDRESS,
            api_port=background.free_port(),
            etcd_port=background.free_port(),
            etcd_peer_port=background.free_port(),
        )
        self.url = plan.server
        self.kubeconfig = plan.admin
        self.authority = plan.identities / "ca.crt"
        commands = [control_plane.etcd(plan), control_plane.api_server(plan, node=False), control_plane.controllers(plan)]
        logs = [directory / f"{name}.log" for name in ("etcd", "kube-apiserver", "kube-controller-manager")]
        self.etcd = process.Process(commands[0], logs[0], lambda: process.accepts(plan.etcd_port))
        self.api = process.Process(commands[1], logs[1], self._answers)
        self.controllers = process.Process(commands[2], logs[2], self._has_default_account)

    def start(self) -> None:
        """Return when an object with any controller's help can be made."""
        who = identities.of_control_plane([_ADDRESS])
        identities.issue(self.plan.programs / "certificates", self.plan.identities, who, self.url)
        control_plane.prepare(self.plan)
        for server in (self.etcd, self.api, self.controllers):
            server.start()

    def stop(self) -> None:
        """Nothing is kept, so nobody is asked to end in order."""
        for server in (self.controllers, self.api, self.etcd):
            server.kill()

    def last_words(self) -> str:
        """The ends of the three logs."""
        return "\n".join(f"-- {server.log.stem}\n{server.last_words(30)}" for server in (self.etcd, self.api, self.controllers))

    def kubectl(self, *arguments: str, stdin: str = "", kubeconfig: pathlib.Path | None = None) -> str:
        """Its output; as the admin unless `kubeconfig` is somebody else's. Raises `shell.CommandError`."""
        command = [str(self.plan.programs / "kubectl"), f"--kubeconfig={kubeconfig or self.kubeconfig}", *arguments]
        return shell.run(command, stdin, limit_seconds=_PATIENCE_SECONDS)

    def get(self, path: str) -> bytes:
        """What the API server answers the admin. Raises OSError, which a refusal (`urllib.error.HTTPError`) is too."""
        with self.open(urllib.request.Request(self.url + path)) as answer:
            return answer.read()

    def open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """The admin's request; the caller reads the answer, line by line if it is a watch, and closes it."""
        answer = urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS, context=self.admin_tls())
        assert isinstance(answer, http.client.HTTPResponse)
        return answer

    def admin_tls(self) -> ssl.SSLContext:
        """For a test's own client, as the admin."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.load_cert_chain(self.plan.identities / "admin.crt", self.plan.identities / "admin.key")
        return context

    def as_service_account(self, namespace: str, name: str) -> pathlib.Path:
        """A kubeconfig with a token of an account that exists, as its pods would get one; good for an hour."""
        token = self.kubectl("create", "token", name, f"--namespace={namespace}").strip()
        path = self.plan.directory / f"{namespace}.{name}.kubeconfig"
        identities.write_kubeconfig(path, self.url, self.authority, {"token": token}, namespace)
        return path

    def mark(self) -> int:
        """Where the audit log stands, for `requests`. What was answered before is in it before."""
        sought = f"/version?mark={uuid.uuid4().hex}"
        self.get(sought)
        return self._position_of(sought)

    def requests(self, since: int) -> Iterator[Request]:
        """What was answered between `since`, a mark, and now; in the order in which it was answered."""
        until = self.mark()
        with self.plan.audit_log.open("rb") as log:
            log.seek(since)
            for line in log.read(until - since).splitlines():
                yield _request(json.loads(line))

    def _position_of(self, uri: str) -> int:
        """Past the entry of `uri`. It comes with the answer, so it may be a moment late."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            log = self.plan.audit_log.read_bytes()
            found = log.find(uri.encode())
            if found >= 0 and (end := log.find(b"\n", found)) >= 0:
                return end + 1
            time.sleep(_LOOK_SECONDS)
        raise process.ServerError(f"{uri} is not in the audit log after {_PATIENCE_SECONDS:.0f} s")

    def _answers(self) -> bool:
        try:
            return self.get("/readyz") == b"ok"
        except OSError:
            return False

    def _has_default_account(self) -> bool:
        try:
            return bool(self.get("/api/v1/namespaces/default/serviceaccounts/default"))
        except OSError:
            return False


def _request(entry: dict[str, object]) -> Request:
    of, user, status = (entry.get(key) or {} for key in ("objectRef", "user", "responseStatus"))
    assert isinstance(of, dict)
    assert isinstance(user, dict)
    assert isinstance(status, dict)
    subresource = of.get("subresource")
    return Request(
        user=user.get("username", ""),
        verb=str(entry["verb"]),
        resource=of.get("resource", "") + (f"/{subresource}" if subresource else ""),
        namespace=of.get("namespace", ""),
        name=of.get("name", ""),
        code=status.get("code", 0),
    )
