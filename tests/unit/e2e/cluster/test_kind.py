"""kind can't run everywhere this is tested: are its commands the right ones, in the right order?"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence

import pytest
from e2e.cluster import kind, provider, shell


class Recorder:
    """Runs nothing; answers what it was told to, by the first two words of a command."""

    def __init__(self, answers: dict[str, str] | None = None, broken: str = "") -> None:
        self.commands: list[str] = []
        self._answers = answers or {}
        self._broken = broken

    def __call__(self, command: Sequence[str], stdin: str) -> str:
        self.commands.append(" ".join(command))
        if self._broken and self._broken in self.commands[-1]:
            raise shell.CommandError(f"{command[0]}: not installed")
        return self._answers.get(" ".join(command[:2]), "")


def test_up_makes_one_cluster_and_waits_for_names(tmp_path: pathlib.Path) -> None:
    """Catches a cluster of another name or version, a kubeconfig written over the user's own, a DNS that isn't up."""
    run = Recorder({"kind get": "other\n"})
    kind.Kind(tmp_path, run).up()
    config = tmp_path / "kind.kubeconfig"
    assert run.commands == [
        "kind get clusters",
        f"kind create cluster --image {kind.NODE_IMAGE} --wait 120s --kubeconfig {config} --name penstock",
        f"kubectl --kubeconfig {config} --namespace=kube-system rollout status deployment/coredns --timeout=120s",
    ]


def test_up_twice_makes_nothing_new(tmp_path: pathlib.Path) -> None:
    """Catches a second `create`, which kind refuses."""
    run = Recorder({"kind get": "penstock\n"})
    kind.Kind(tmp_path, run).up()
    assert run.commands == [
        "kind get clusters",
        f"kind export kubeconfig --kubeconfig {tmp_path / 'kind.kubeconfig'} --name penstock",
    ]


def test_each_request_is_one_command(tmp_path: pathlib.Path) -> None:
    """Catches a command aimed at whatever cluster the user's own kubeconfig names."""
    run = Recorder()
    cluster = kind.Kind(tmp_path, run)
    cluster.load_image(pathlib.Path("penstock.tar"))
    cluster.kubectl("get", "pods")
    cluster.helm("list")
    cluster.keep_logs(pathlib.Path("logs"))
    cluster.down()
    config = tmp_path / "kind.kubeconfig"
    assert run.commands == [
        "kind load image-archive penstock.tar --name penstock",
        f"kubectl --kubeconfig {config} get pods",
        f"helm --kubeconfig {config} list",
        "kind export logs logs --name penstock",
        f"kind delete cluster --kubeconfig {config} --name penstock",
    ]


def test_addresses_are_those_of_kind_s_network(tmp_path: pathlib.Path) -> None:
    """Catches the IPv6 gateway, which what runs beside the cluster does not listen at."""
    networks = [{"IPAM": {"Config": [{"Gateway": "fc00::1"}, {"Gateway": "172.18.0.1"}]}}]
    node = [{"NetworkSettings": {"Networks": {"kind": {"IPAddress": "172.18.0.2"}}}}]
    run = Recorder({"docker network": json.dumps(networks), "docker inspect": json.dumps(node)})
    cluster = kind.Kind(tmp_path, run)
    assert (cluster.machine_address, cluster.node_address) == ("172.18.0.1", "172.18.0.2")


def test_the_api_goes_and_comes_with_its_manifest(tmp_path: pathlib.Path) -> None:
    """Catches an API server that is taken away and never brought back."""
    run = Recorder()
    cluster = kind.Kind(tmp_path, run)
    cluster.stop_api()
    cluster.start_api()
    here, there = "/etc/kubernetes/manifests/kube-apiserver.yaml", "/etc/kubernetes/kube-apiserver.yaml"
    assert run.commands[:2] == [
        f"docker exec penstock-control-plane mv {here} {there}",
        f"docker exec penstock-control-plane mv {there} {here}",
    ]
    assert "--raw=/readyz" in run.commands[2]


def test_without_kind_the_error_says_what_is_needed(tmp_path: pathlib.Path) -> None:
    """Catches a traceback where a sentence would do."""
    with pytest.raises(provider.ClusterError, match="kind and a running Docker are needed"):
        kind.Kind(tmp_path, Recorder(broken="kind get")).up()
