"""ConfigMaps and the token: what was accepted, the file of each role, and what the pods of a pipeline know each other by."""

from __future__ import annotations

from typing import Any, Final

from penstock_operator import names, revision, snapshot
from penstock_operator.resources import identity

ACCEPTED_ROLE: Final = "accepted"
TOKEN_MADE: Final = "penstock.dev/token"  # noqa: S105 - an annotation
_OBJECT: Final = "pipeline.json"


def accepted(running: revision.Revision) -> dict[str, Any]:
    """The record of what was accepted last. It is what runs while a later edit can't be used, and it holds the log that was
    chosen, whatever the default becomes. That the token was made is noted here, because nobody may read the token."""
    made = identity.manifest(
        running,
        "v1",
        "ConfigMap",
        names.accepted(running.name),
        role=ACCEPTED_ROLE,
        data={_OBJECT: revision.as_text(running.data)},
    )
    return identity.with_digest(made, **{identity.GENERATION: str(running.generation), TOKEN_MADE: "made"})


def read_accepted(live: snapshot.Snapshot) -> revision.Revision | None:
    """What the record says; None where there is none yet. Raises InvalidPipelineError where a newer release wrote it."""
    record = live.child("ConfigMap", names.accepted(live.name))
    if record is None or _OBJECT not in record.get("data", {}):
        return None
    generation = int(record["metadata"].get("annotations", {}).get(identity.GENERATION, "0"))
    return revision.read(record["data"][_OBJECT], generation=generation, uid=str(live.pipeline["metadata"]["uid"]))


def is_record(child: snapshot.Manifest) -> bool:
    """Whether a child is such a record."""
    role = child["metadata"].get("labels", {}).get(identity.ROLE_LABEL, "")
    return bool(child["kind"] == "ConfigMap" and role == ACCEPTED_ROLE)


def object_in(record: snapshot.Manifest) -> str:
    """The object a record holds. Raises KeyError where it holds none."""
    return str(record["data"][_OBJECT])


def file(running: revision.Revision, role: str, sink: str = "") -> dict[str, Any]:
    """The file of a role. What needs new pods is another ConfigMap: a pod of the old revision that starts anew reads the old
    one. What running pods are told changes in place, for those that start anew."""
    return identity.manifest(
        running,
        "v1",
        "ConfigMap",
        running.file_name(role, sink),
        role=role,
        data={"pipeline.yaml": running.file(role, sink)},
    )


def token(running: revision.Revision) -> dict[str, Any]:
    """The Secret, without the value it is created with."""
    return identity.manifest(running, "v1", "Secret", names.token(running.name), role="token", type="Opaque", immutable=True)
