"""`spec.pods`: what a cluster gives the pods. Never an image, a volume or a variable: who edits a pipeline runs no code."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from penstock.api.model import base


def _whole_or_text(value: object) -> str | None:
    if isinstance(value, str):
        return "<text>"
    return "<whole>" if isinstance(value, int) and not isinstance(value, bool) else None


Quantity = Annotated[
    Annotated[Annotated[str, base.text(32, base.QUANTITY)], pydantic.Tag("<text>")]
    | Annotated[Annotated[int, base.whole(0, 1 << 50)], pydantic.Tag("<whole>")],
    pydantic.Discriminator(_whole_or_text),
]


class Compute(base.Model):
    """An amount of each kind of resource."""

    cpu: Quantity | None = None
    """Processor cores, such as "500m" or 2."""
    memory: Quantity | None = None
    """Memory, such as "1Gi"."""
    ephemeral_storage: Annotated[Quantity | None, pydantic.Field(alias="ephemeral-storage")] = None
    """Local disk, such as "4Gi"."""


class Resources(base.Model):
    """Resources of one kind of pod."""

    requests: Compute = Compute()
    """What is set aside."""
    limits: Compute = Compute()
    """What is never exceeded."""


class PodResources(base.Model):
    """Resources of each kind of pod."""

    ingest: Resources = Resources()
    """Pods that take events in."""
    batcher: Resources = Resources()
    """Pods that transform and batch."""
    sink: Resources = Resources()
    """Pods that write to the stores."""


class Toleration(base.Model):
    """A taint the pods put up with."""

    key: Annotated[str, base.text(317)] | None = None
    """Key of the taint. Omitted: every key."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """How key and value are compared."""
    value: base.LabelValue | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint. Omitted: every effect."""
    toleration_seconds: Annotated[int, base.whole(0, base.MAX_INT64)] | None = None
    """How long a NoExecute taint is put up with. Omitted: for ever."""


class Pods(base.Model):
    """Resources and placement of the pods."""

    resources: PodResources = PodResources()
    """Resources of each kind of pod."""
    node_selector: base.Labels = pydantic.Field(default_factory=dict)
    """Labels of the nodes the pods may run on."""
    tolerations: Annotated[tuple[Toleration, ...], pydantic.Field(max_length=32)] = ()
    """Taints the pods put up with."""
    labels: base.Labels = pydantic.Field(default_factory=dict)
    """Labels of the pods."""
    annotations: base.Annotations = pydantic.Field(default_factory=dict)
    """Annotations of the pods."""
