"""The two custom resource definitions: names, columns, and what may change after an object was made."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import yaml

from penstock.api import rule, rules
from penstock.api.crd import structural
from penstock.api.model import base, pipeline, replay, status

VERSION: Final = pipeline.API_VERSION.rsplit("/", 1)[1]

_NAME: Final = {"type": "string", "minLength": 1, "maxLength": 40, "pattern": base.DNS_LABEL}

_COLUMNS: Final = (
    ("Ready", '.status.conditions[?(@.type=="Ready")].status', "Whether events are taken and kept safe.", 0),
    ("State", ".status.display.state", "What is going on, in one word.", 0),
    ("Rate", ".status.display.rate", "Events read in a second, by the slowest lane.", 0),
    ("Lag", ".status.display.lag", "Age of the oldest unread event.", 0),
    ("Batch", ".status.display.batch", "Rows of a batch.", 0),
    ("Circuit", ".status.display.circuit", "Lanes whose store is left alone, of all.", 0),
    ("Dead", ".status.display.dead", "Outstanding dead letters.", 0),
    ("Retain", ".status.display.retain", "How long until the log is full and the door refuses.", 0),
    ("Seen", ".status.observedAt", "When the operator last looked; old means that the operator is gone.", 0),
    ("Age", ".metadata.creationTimestamp", "Age of the object.", 0),
    ("P99", ".status.display.p99", "Time from accepted to landed that 99 of 100 events keep.", 1),
    ("Objective", ".status.display.objective", "What that time should be.", 1),
    ("Replicas", ".status.display.replicas", "Ready pods of those wanted: door, lanes, sinks.", 1),
)
_REPLAY_COLUMNS: Final = (
    ("Pipeline", ".spec.pipelineRef.name", "The pipeline whose letters they are.", 0),
    ("Action", ".spec.action", "What is done with them.", 0),
    ("Complete", '.status.conditions[?(@.type=="Complete")].status', "Whether it is done.", 0),
    ("Reason", '.status.conditions[?(@.type=="Complete")].reason', "What goes on, or how it ended.", 0),
    ("Selected", ".status.selected", "Letters that fit the selection.", 0),
    ("Replayed", ".status.replayed", "Letters put back.", 0),
    ("Landed", ".status.landed", "Letters whose rows have landed.", 0),
    ("Failed", ".status.failed", "Letters that failed again.", 0),
    ("Age", ".metadata.creationTimestamp", "Age of the object.", 0),
)
_DATES: Final = frozenset({"Seen", "Age"})
_NUMBERS: Final = frozenset({"Selected", "Replayed", "Landed", "Failed"})


def _fixed(member: str, *, optional: bool = False) -> rule.Rule:
    """A member that stays as it was made."""
    same = f"self.{member} == oldSelf.{member}"
    both = f"has(self.{member}) == has(oldSelf.{member}) && (!has(self.{member}) || {same})"
    return rule.Rule(
        path="spec",
        cel=both if optional else same,
        message="can't change once the object is made",
        remedy="Make another DeadLetterReplay.",
        field=f".{member}",
    )


REPLAY_EDITS: Final = (
    _fixed("pipelineRef"),
    _fixed("source"),
    _fixed("select"),
    _fixed("reason", optional=True),
    _fixed("maxReplaysPerEvent"),
    _fixed("suspendOnFailure"),
    _fixed("ttlSecondsAfterFinished", optional=True),
    rule.Rule(
        path="spec",
        cel="self.action == oldSelf.action || (oldSelf.action == 'DryRun' && self.action == 'Replay')",
        message="can only change from DryRun to Replay",
        remedy="Make another DeadLetterReplay.",
        field=".action",
    ),
)
"""Rules between an object and what it was; only a cluster knows both."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One custom resource definition to be."""

    model: type[base.Model]
    status: type[base.Model]
    rules: Sequence[rule.Rule]
    plural: str
    short_names: tuple[str, ...]
    columns: Sequence[tuple[str, str, str, int]]


KINDS: Final = (
    Kind(
        model=pipeline.BatchPipeline,
        status=status.Status,
        rules=rules.BATCH_PIPELINE,
        plural="batchpipelines",
        short_names=("bp", "bpl"),
        columns=_COLUMNS,
    ),
    Kind(
        model=replay.DeadLetterReplay,
        status=status.ReplayStatus,
        rules=(*rules.DEAD_LETTER_REPLAY, *REPLAY_EDITS),
        plural="deadletterreplays",
        short_names=("dlr",),
        columns=_REPLAY_COLUMNS,
    ),
)


def definition(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition as plain data."""
    name = kind.model.__name__
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{pipeline.GROUP}",
            # Helm leaves them where they are when the chart goes: with them would go every pipeline.
            "annotations": {"helm.sh/resource-policy": "keep"},
            "labels": {"app.kubernetes.io/name": "penstock", "app.kubernetes.io/component": "crd"},
        },
        "spec": {
            "group": pipeline.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": name,
                "listKind": f"{name}List",
                "plural": kind.plural,
                "singular": name.lower(),
                "shortNames": list(kind.short_names),
                "categories": ["penstock"],
            },
            "versions": [_version(kind)],
        },
    }


def _version(kind: Kind) -> dict[str, Any]:
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(*told) for told in kind.columns],
        "schema": {"openAPIV3Schema": _schema(kind)},
    }


def _column(name: str, path: str, description: str, priority: int) -> dict[str, Any]:
    type_ = "date" if name in _DATES else "integer" if name in _NUMBERS else "string"
    made = {"name": name, "type": type_, "jsonPath": path, "description": description}
    return {**made, "priority": priority} if priority else made


def _schema(kind: Kind) -> dict[str, Any]:
    made = structural.of_model(kind.model, kind.rules)
    properties = made["properties"]
    # Of metadata a cluster lets nothing be said but what a name may be.
    properties["metadata"] = {"type": "object", "properties": {"name": _NAME}}
    for name in ("apiVersion", "kind"):
        properties[name] = {"type": "string", "description": properties[name]["description"]}
    properties["status"] = structural.of_model(kind.status, defaults=False)
    return {**made, "required": ["spec"]}


def as_yaml(kind: Kind) -> str:
    """The definition as a file that `kubectl apply` takes."""
    head = "# Generated by `penstock crd`; `make generate` writes it anew.\n"
    return head + yaml.dump(definition(kind), Dumper=_Plain, sort_keys=False, width=130, allow_unicode=True)


class _Plain(yaml.SafeDumper):
    """Writes a thing that stands in two places twice, instead of pointing to the first."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
