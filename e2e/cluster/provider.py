"""The port behind which clusters are: what a scenario may ask of one, whoever provides it."""

from __future__ import annotations

import pathlib
from typing import Protocol


class ClusterError(Exception):
    """A cluster that can't be had, or does not do what it is told; the message says why and what to do."""


class UnfitError(ClusterError):
    """This machine can't have a cluster; nothing was begun."""


class Cluster(Protocol):
    """One cluster with one node. Everything but `up`, `down` and `status` wants it up."""

    @property
    def kubeconfig(self) -> pathlib.Path:
        """The admin's; a file that refers to no other."""

    @property
    def machine_address(self) -> str:
        """Where pods reach what listens on this machine, while the cluster is up."""

    @property
    def node_address(self) -> str:
        """Where this machine reaches ports of the node, such as a Service's of type NodePort."""

    @property
    def audit_log(self) -> pathlib.Path | None:
        """The API server's record of requests, a line of JSON each, where it keeps one."""

    def up(self) -> None:
        """Return when pods can run, names resolve and accounts exist. Does nothing when it is up. Raises ClusterError."""

    def down(self) -> None:
        """Take it away with everything in it. Does nothing when there is none; raises ClusterError when something is left."""

    def status(self) -> str:
        """One line for a person: whether it is up, and what is wrong with it."""

    def load_image(self, archive: pathlib.Path) -> None:
        """Make the image of an OCI archive known to the node, under the name it has there; pods need no pulling then."""

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """Its output, as the admin. Raises `shell.CommandError`."""

    def helm(self, *arguments: str) -> str:
        """Its output, as the admin. Raises `shell.CommandError`."""

    def stop_api(self) -> None:
        """Take the API server away, without a warning. Pods go on."""

    def start_api(self) -> None:
        """Bring it back with its objects; return when it answers. Raises ClusterError."""

    def keep_logs(self, folder: pathlib.Path) -> None:
        """Copy what the cluster's own programs and the pods have said into `folder`."""
