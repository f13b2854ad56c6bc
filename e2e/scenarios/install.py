"""Penstock in the cluster, as the README says: with Helm, from the chart of this tree."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator

from e2e.cluster import archives, image, provider

RELEASE = "penstock"
NAMESPACE = "penstock-system"
OPERATOR = {"app.kubernetes.io/instance": RELEASE, "app.kubernetes.io/component": "operator"}
_CHART = image.REPOSITORY / "charts" / "penstock"
_WHERE = f"--namespace={NAMESPACE}"
_READY = ("--wait", "--timeout=180s")


def install(cluster: provider.Cluster) -> None:
    """The image of this tree on the node, the chart installed or upgraded, the operator ready. Twice does no harm."""
    cluster.load_image(archives.PATH)
    repository, _, tag = image.NAME.rpartition(":")
    told = [f"--set=image.repository={repository}", f"--set=image.tag={tag}"]
    # The image's name stays the same when its contents change, so the pod has to be told.
    with archives.PATH.open("rb") as archive:
        told.append(f"--set-string=podAnnotations.e2e={hashlib.file_digest(archive, 'sha256').hexdigest()}")
    cluster.helm("upgrade", "--install", RELEASE, str(_CHART), _WHERE, "--create-namespace", *told, *_READY)


def upgrade(cluster: provider.Cluster, *told: str) -> None:
    """The release with what these words of Helm's change, and the operator ready with it."""
    cluster.helm("upgrade", RELEASE, str(_CHART), _WHERE, "--reuse-values", *told, *_READY)


@contextlib.contextmanager
def changed(cluster: provider.Cluster, *told: str) -> Iterator[None]:
    """The release so for a while, and at the end as it was before."""
    (now,) = json.loads(cluster.helm("history", RELEASE, _WHERE, "--max=1", "--output=json"))
    try:
        upgrade(cluster, *told)
        yield
    finally:
        cluster.helm("rollback", RELEASE, str(now["revision"]), _WHERE, *_READY)
