"""Penstock in the cluster, as the README says: with Helm, from the chart of this tree."""

from __future__ import annotations

import hashlib

from e2e.cluster import archives, image, provider

RELEASE = "penstock"
NAMESPACE = "penstock-system"
OPERATOR = {"app.kubernetes.io/instance": RELEASE, "app.kubernetes.io/component": "operator"}
_CHART = image.REPOSITORY / "charts" / "penstock"


def install(cluster: provider.Cluster) -> None:
    """The image of this tree on the node, the chart installed or upgraded, the operator ready. Twice does no harm."""
    cluster.load_image(archives.PATH)
    repository, _, tag = image.NAME.rpartition(":")
    told = [f"--set=image.repository={repository}", f"--set=image.tag={tag}"]
    # The image's name stays the same when its contents change, so the pod has to be told.
    with archives.PATH.open("rb") as archive:
        told.append(f"--set-string=podAnnotations.e2e={hashlib.file_digest(archive, 'sha256').hexdigest()}")
    where = [f"--namespace={NAMESPACE}", "--create-namespace"]
    cluster.helm("upgrade", "--install", RELEASE, str(_CHART), *where, *told, "--wait", "--timeout=180s")


def upgrade(cluster: provider.Cluster, *values: str) -> None:
    """The release with these values changed, and the operator ready with them."""
    told = [f"--set-string={value}" for value in values]
    where = f"--namespace={NAMESPACE}"
    cluster.helm("upgrade", RELEASE, str(_CHART), where, "--reuse-values", *told, "--wait", "--timeout=180s")
