"""The cluster, asked through the user's own `kubectl`: their contexts, log-ins, proxies and rights, and none of ours.

What it answers with an error becomes one line that says what is missing and who can give it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import click

from penstock.cli import exits

Object = Mapping[str, Any]

PIPELINES: Final = "batchpipelines.penstock.dev"
REPLAYS: Final = "deadletterreplays.penstock.dev"
PIPELINE_LABEL: Final = "penstock.dev/pipeline"
ROLE_LABEL: Final = "penstock.dev/role"
SINK_LABEL: Final = "penstock.dev/sink"
_SECONDS: Final = 60.0
_FORWARD_SECONDS: Final = 20.0
_FORWARDED: Final = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")
_FORBIDDEN: Final = re.compile(r'cannot (\w+) resource "([^"]+)"(?: in API group "([^"]*)")?(?: in the namespace "([^"]+)")?')
_MISSING: Final = re.compile(r'Error from server \(NotFound\): (\S+) "([^"]+)" not found')
_AWAY: Final = ("connection refused", "no such host", "i/o timeout", "Unable to connect", "TLS handshake timeout", "EOF")


class MissingError(exits.Invalid):
    """An object is not there. `kind` as kubectl names it."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"there is no {kind} {name}")
        self.kind, self.name = kind, name


class RightError(exits.Invalid):
    """The user lacks a right; the message names it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """`flags` say which: of every call, in the order of kubectl. `namespace` empty: that of the context."""

    flags: tuple[str, ...] = ()
    namespace: str = ""

    def run(self, *arguments: str, stdin: str | None = None, seconds: float = _SECONDS) -> str:
        """What kubectl prints. Raises MissingError, RightError, Invalid, Unreachable."""
        try:
            done = subprocess.run(  # noqa: S603 - the user's own kubectl
                [*self._command(), *arguments], input=stdin, capture_output=True, text=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise exits.Unreachable(f"kubectl {arguments[0]}: no answer after {seconds:.0f} s") from error
        if done.returncode:
            raise refusal(done.stderr.strip() or done.stdout.strip())
        return done.stdout

    def call(self, *arguments: str) -> int:
        """Run kubectl with the terminal that this command has; its exit code."""
        return subprocess.run([*self._command(), *arguments], check=False).returncode  # noqa: S603 - the user's own kubectl

    def into(self, target: Any, *arguments: str) -> int:
        """Run kubectl with its output written to an open file; its exit code."""
        command = [*self._command(), *arguments]
        return subprocess.run(command, stdout=target, check=False).returncode  # noqa: S603 - the user's own kubectl

    def _command(self) -> list[str]:
        program = shutil.which("kubectl")
        if program is None:
            raise exits.Unreachable("there is no kubectl on the PATH", "install it, or put its folder on the PATH")
        return [program, *self.flags, *([f"--namespace={self.namespace}"] if self.namespace else [])]

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """One object. Raises as `run`."""
        found: dict[str, Any] = json.loads(self.run("get", kind, name, "-o", "json"))
        return found

    def listed(self, kinds: str, selector: str = "") -> list[dict[str, Any]]:
        """All of these kinds, with commas between, in the namespace. Raises as `run`."""
        narrowed = [f"--selector={selector}"] if selector else []
        found: list[dict[str, Any]] = json.loads(self.run("get", kinds, *narrowed, "-o", "json"))["items"]
        return found

    def patch(self, kind: str, name: str, patch: Any, form: str = "merge") -> None:
        """Raises as `run`."""
        self.run("patch", kind, name, f"--type={form}", f"--patch={json.dumps(patch)}")

    def pipeline(self, name: str) -> dict[str, Any]:
        """One that is not there is told with those that are."""
        try:
            return self.get(PIPELINES, name)
        except MissingError as error:
            there = ", ".join(one["metadata"]["name"] for one in self.listed(PIPELINES)) or "none"
            where = f"namespace {self.namespace}" if self.namespace else "this context's namespace"
            raise exits.Invalid(f"no pipeline {name} in {where}", f"there: {there}; name another namespace with -n") from error

    def pods(self, name: str) -> list[dict[str, Any]]:
        """Those of a pipeline, but of no replay; by name."""
        found = self.listed("pods", f"{PIPELINE_LABEL}={name},{ROLE_LABEL}!=replay")
        return sorted(found, key=lambda one: str(one["metadata"]["name"]))

    @contextlib.contextmanager
    def forwarded(self, pod: str, port: int) -> Iterator[int]:
        """A port of this machine that leads to one of the pod's. Raises as `run`."""
        command = [*self._command(), "port-forward", "--address=127.0.0.1", f"pod/{pod}", f":{port}"]
        pipe = subprocess.PIPE
        child = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)  # noqa: S603 - the user's own kubectl
        watchdog = threading.Timer(_FORWARD_SECONDS, child.kill)
        watchdog.start()
        try:
            assert child.stdout is not None  # noqa: S101 - it is a pipe
            found = _FORWARDED.search(child.stdout.readline())
            watchdog.cancel()
            if found is None:
                _, said = child.communicate(timeout=_FORWARD_SECONDS)
                raise refusal(said.strip() or f"no way to port {port} of {pod}")
            yield int(found[1])
        finally:
            watchdog.cancel()
            child.kill()
            child.communicate()


def refusal(said: str) -> exits.Invalid:
    """What kubectl printed to its standard error, as an error of ours."""
    if found := _FORBIDDEN.search(said):
        verb, resource, group, namespace = found.groups()
        what = f"{resource}.{group}" if group else resource
        where = f" in the namespace {namespace}" if namespace else ""
        return RightError(f"you may not {verb} {what}{where}", f"whoever grants rights there can: a Role with {verb} on {what}")
    if found := _MISSING.search(said):
        return MissingError(found[1], found[2])
    if "the server doesn't have a resource type" in said:
        return exits.Invalid("this cluster does not know Penstock's kinds", "install the chart, or look at another --context")
    if any(sign in said for sign in _AWAY):
        return exits.Unreachable(f"the cluster does not answer: {said.splitlines()[-1]}", "kubectl get --raw /readyz tells more")
    return exits.Invalid(said.removeprefix("error: ").removeprefix("Error from server "))


def options(command: Callable[..., None]) -> Callable[..., None]:
    """`cluster`: where kubectl looks, as the user says it."""

    @functools.wraps(command)
    def told(*, namespace: str, context: str, kubeconfig: str, **rest: Any) -> None:
        flags = {"--context": context, "--kubeconfig": kubeconfig}
        given = tuple(f"{name}={value}" for name, value in flags.items() if value)
        command(cluster=Cluster(flags=given, namespace=namespace), **rest)

    for option in (
        click.option("--kubeconfig", default="", help="The kubeconfig.  [default: kubectl's]"),
        click.option("--context", default="", help="The context.  [default: kubectl's]"),
        click.option("-n", "--namespace", default="", help="The namespace.  [default: the context's]"),
    ):
        told = option(told)
    return told


def typed(name: str, yes: str | None, what: str) -> None:
    """Return when the name was said once more: with --yes, or at the terminal. Raises Invalid."""
    if yes is None and sys.stdin.isatty():
        yes = click.prompt(f"{what}\nType the name of the pipeline to go on", default="", show_default=False, err=True)
    if yes != name:
        said = f"--yes {yes} is another name" if yes else f"{what}; nothing was done"
        raise exits.Invalid(said, f"say --yes {name}")
