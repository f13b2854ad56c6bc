"""The cluster's programs: built once per machine, one folder of binaries per set of sources.

`CONTROL_PLANE` is what stores and checks objects and is all that most tests need; `NODE` is what runs pods. Both come from the
module in `kube/`. A program is a link beside its binary, which looks at the name it is called by.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import sys

from e2e.cluster import cache, shell
from e2e.cluster.local import toolchain

_VERSIONED = "k8s.io/component-base/version"
_CLIENT_VERSIONED = "k8s.io/client-go/pkg/version"
# No debugger's data, no inlining, and a collector that runs rarely: quicker to build by a third, hardly slower to run.
_FLAGS = ("-trimpath", "-buildvcs=false", "-mod=readonly", "-gcflags=all=-dwarf=false -l")
_ENVIRONMENT = {"CGO_ENABLED": "0", "GOWORK": "off", "GOGC": "400"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Packages of the module, each a binary, and the programs one of them holds."""

    name: str
    packages: tuple[str, ...]
    holder: str
    programs: tuple[str, ...]


CONTROL_PLANE = Part(
    name="control plane",
    packages=("./controlplane",),
    holder="controlplane",
    programs=("certificates", "etcd", "kube-apiserver", "kube-controller-manager", "kubectl"),
)
NODE = Part(
    name="node",
    packages=("./node", "./pause", "helm.sh/helm/v3/cmd/helm"),
    holder="node",
    programs=("coredns", "kube-proxy", "kube-scheduler", "kubelet"),
)
HELM = Part(name="Helm", packages=("helm.sh/helm/v3/cmd/helm",), holder="helm", programs=())
"""Of its own, for tests that render the chart and need no node."""


def expected(part: Part) -> pathlib.Path:
    """Where they are, or will be after `build`."""
    return _folder(part, toolchain.go())


def found(part: Part) -> pathlib.Path:
    """The folder of programs, or `cache.MissingError`."""
    folder = expected(part)
    if not folder.is_dir():
        raise cache.MissingError(f"not built: {folder}. Run: make {'cluster-up' if part is NODE else 'setup-servers'}")
    return folder


def build(part: Part) -> pathlib.Path:
    """The folder of programs; the first time on a machine this takes minutes, and says so."""
    go = toolchain.ensure()
    folder = _folder(part, go)
    if not folder.is_dir():
        sys.stdout.write(f"set-up: Kubernetes, {part.name}: building, once per machine; takes some minutes\n")
        sys.stdout.flush()
    cache.fill(folder, f"Kubernetes, {part.name}", lambda target: _build(part, go, target))
    return folder


def _build(part: Part, go: pathlib.Path, folder: pathlib.Path) -> None:
    command = ["nice", "-n", "19", str(go), "build", *_FLAGS, f"-ldflags={_link_flags()}", "-o", f"{folder}/", *part.packages]
    try:
        shell.run(command, environment={**toolchain.local_only(), **_ENVIRONMENT}, folder=toolchain.MODULE)
    except shell.CommandError as error:
        raise cache.MissingError(str(error)) from None
    for program in part.programs:
        os.symlink(part.holder, folder / program)


def _link_flags() -> str:
    version = kubernetes_version()
    major, minor = version.removeprefix("v").split(".")[:2]
    said = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    values = [f"-X {_VERSIONED}.{name}={value}" for name, value in said.items()]
    return " ".join(["-s", "-w", *values, f"-X {_CLIENT_VERSIONED}.gitVersion={version}"])


def kubernetes_version() -> str:
    """As in "v1.34.4"."""
    text = (toolchain.MODULE / "go.mod").read_text()
    [version] = re.findall(r"^\tk8s\.io/kubernetes (v\S+)$", text, flags=re.MULTILINE)
    return str(version)


def _folder(part: Part, go: pathlib.Path) -> pathlib.Path:
    names = {package.removeprefix("./") for package in part.packages} | {"dispatch"}
    sources = [toolchain.MODULE / "go.mod", toolchain.MODULE / "go.sum"]
    sources += sorted(path for name in names for path in (toolchain.MODULE / name).glob("*.go"))
    how = repr((_FLAGS, _ENVIRONMENT, part, toolchain.version(go)))
    return cache.folder("kubernetes", how.encode(), *(path.read_bytes() for path in sources))
