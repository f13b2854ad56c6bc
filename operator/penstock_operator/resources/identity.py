"""What every child has: labels, the owner, and a digest of what was meant."""

from __future__ import annotations

from typing import Any, Final

from penstock.api.model import pipeline as api_pipeline
from penstock_operator import names, revision

PIPELINE_LABEL: Final = "penstock.dev/pipeline"
ROLE_LABEL: Final = "penstock.dev/role"
SINK_LABEL: Final = "penstock.dev/sink"
DIGEST: Final = "penstock.dev/digest"
"""Annotation: what the operator meant the last time it applied the child. Another digest is another revision."""
GENERATION: Final = "penstock.dev/generation"


def selector(name: str, role: str, sink: str = "") -> dict[str, str]:
    """The labels that pods of one Deployment alone have. They can't change while the Deployment is there."""
    return {PIPELINE_LABEL: names.label(name), ROLE_LABEL: role, **({SINK_LABEL: names.label(sink)} if sink else {})}


def labels(name: str, role: str, sink: str = "") -> dict[str, str]:
    """All labels of a child."""
    return {
        "app.kubernetes.io/name": "penstock",
        "app.kubernetes.io/instance": names.label(name),
        "app.kubernetes.io/component": role,
        "app.kubernetes.io/managed-by": "penstock-operator",
        **selector(name, role, sink),
    }


def manifest(
    running: revision.Revision, api_version: str, kind: str, name: str, *, role: str, sink: str = "", **members: Any
) -> dict[str, Any]:
    """A child of this kind, with its digest. It goes when the pipeline goes."""
    metadata = {
        "name": name,
        "namespace": running.namespace,
        "labels": labels(running.name, role, sink),
        "ownerReferences": [
            {
                "apiVersion": api_pipeline.API_VERSION,
                "kind": "BatchPipeline",
                "name": running.name,
                "uid": running.uid,
                "controller": True,
            }
        ],
    }
    made = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **members}
    return with_digest(made)


def with_digest(made: dict[str, Any], **annotations: str) -> dict[str, Any]:
    """With the digest of what it says now, and further annotations that are part of it."""
    metadata = {**made["metadata"], "annotations": annotations}
    text = revision.as_text({**made, "metadata": metadata})
    return {**made, "metadata": {**metadata, "annotations": {**annotations, DIGEST: revision.digest(text)}}}
