"""One accepted state of a pipeline: the checked object with its log resolved, and the file that each role is given of it.

What only the operator acts on (replicas, resources, placement) is no part of a file, so that changing it restarts only what
it must; nor is the lifecycle, but for lanes that pause and doors that drain: they must also do so when they start anew.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import json
import re
from typing import Any, Final

from penstock.api import live, load
from penstock.api.model import pipeline as api_pipeline
from penstock.api.model import sinks as api_sinks
from penstock_operator import names, snapshot

_FOR_THE_OPERATOR: Final = ("pods", "serviceAccountName", "updates")
_HELD: Final = (("batcher", "Paused"), ("ingest", "Draining"))
"""Lifecycles that a role must know of at its start."""
_FILES: Final = 2
"""Of how files are named: another number is another name for each of them."""
_UNSAFE: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")
_DIGEST_CHARACTERS: Final = 8


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """`data` is the object as plain data, `pipeline` the same, checked; `uid` and `generation` are those of the object it came
    from, and `token` says whether the pods' Secret was made."""

    data: dict[str, Any]
    pipeline: api_pipeline.BatchPipeline
    generation: int
    uid: str

    @property
    def name(self) -> str:
        return self.pipeline.metadata.name

    @property
    def namespace(self) -> str:
        return self.pipeline.metadata.namespace

    @property
    def lifecycle(self) -> str:
        return self.pipeline.spec.lifecycle

    @property
    def has_doors(self) -> bool:
        """Whether events are sent to the pipeline; else it reads topics, and has no doors."""
        return self.pipeline.spec.source.type == "Ingest"

    def sink(self, name: str) -> api_sinks.Sink:
        return next(one for one in self.pipeline.spec.sinks if one.name == name)

    def file(self, role: str, sink: str = "") -> str:
        """The pipeline file of a role, the same text for the same meaning. A sink is shown no other sinks; a lane must know
        all of them, because nothing leaves the log that one of them has not read."""
        return as_text(self._shown(role, sink))

    def _shown(self, role: str, sink: str) -> dict[str, Any]:
        shown = copy.deepcopy(self.data)
        spec = shown["spec"]
        for name in _FOR_THE_OPERATOR:
            spec.pop(name, None)
        if role == "sink":
            spec["sinks"] = [one for one in spec["sinks"] if one["name"] == sink]
        for part in (spec.get("source", {}).get("ingest") or {}, *spec["sinks"]):
            part.pop("replicas", None)
        if (role, spec.get("lifecycle")) not in _HELD:
            spec.pop("lifecycle", None)
        for one in spec["sinks"]:
            if not (role == "batcher" and one["name"] == sink):
                one.pop("lifecycle", None)
        return shown

    def file_name(self, role: str, sink: str = "") -> str:
        """Name of the ConfigMap that holds the file: another one where pods have to start anew to do as it says. What they are
        told over Control while they run changes within the file."""
        fixed = self._shown(role, sink)
        spec = fixed["spec"]
        spec["sinks"] = [live.fixed({**one, "lifecycle": ""}) for one in spec["sinks"]]
        if role == "batcher":
            spec.pop("lifecycle", None)
        return names.file(self.name, role, digest(f"{_FILES} {as_text(fixed)}"))


def read(text: str, *, generation: int, uid: str) -> Revision:
    """Raises InvalidPipelineError with every problem."""
    return Revision(data=json.loads(text), pipeline=_checked(text), generation=generation, uid=uid)


@functools.lru_cache(maxsize=2048)
def _checked(text: str) -> api_pipeline.BatchPipeline:
    """Remembered, because each plan reads the same two texts of a pipeline again, and the rules cost most of a plan."""
    return load.load_one(text)


def reduced(pipeline: snapshot.Manifest, log: dict[str, Any] | None) -> dict[str, Any]:
    """The object without what a cluster adds to it, over the log it uses."""
    metadata = {key: pipeline["metadata"][key] for key in ("name", "namespace")}
    spec = {**copy.deepcopy(dict(pipeline["spec"])), **({"log": log} if log else {})}
    return {"apiVersion": api_pipeline.API_VERSION, "kind": "BatchPipeline", "metadata": metadata, "spec": spec}


def as_text(data: Any) -> str:
    """JSON that is YAML as well: every text in quotes, and what YAML would break lines at or refuse, escaped."""
    text = json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(", ", ": "))
    return _UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARACTERS]
