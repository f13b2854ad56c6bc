"""What each sink of a process is set to now: by its file at first, and later by whoever was told last over control.

The file of the next start says the same, so nothing is kept. Two who tell at once, as an operator and the one that takes its
place, are told apart by the generation of the object they have it from: the older one is ignored.
"""

from __future__ import annotations

import dataclasses

from penstock.api import live
from penstock.api.model import pipeline as api_pipeline
from penstock.api.model import sinks as api_sinks


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """`settings` is what `live.text` makes of a sink, `version` what its teller calls it."""

    settings: str
    version: str
    generation: int


class Settled:
    """Of the sinks of one pipeline. Raises KeyError for a sink it does not have."""

    def __init__(self, pipeline: api_pipeline.BatchPipeline) -> None:
        self.pipeline = pipeline
        """As it is set now."""
        self._versions = {sink.name: live.version(sink) for sink in pipeline.spec.sinks}
        self._generations = dict.fromkeys(self._versions, 0)

    def sink(self, name: str) -> api_sinks.Sink:
        """As it is set now."""
        found = [sink for sink in self.pipeline.spec.sinks if sink.name == name]
        if not found:
            raise KeyError(f'no sink "{name}" is in this pipeline; there are: {", ".join(self._versions)}')
        return found[0]

    def version(self, name: str) -> str:
        """What the settings are called that the sink has."""
        return self._versions.get(name, "")

    def take(self, name: str, told: Told) -> bool:
        """Whether that is news; not what is older than the last. Raises ValueError for settings that can't be used."""
        before = self.sink(name)
        if told.generation < self._generations[name]:
            return False
        made = live.changed(before, told.settings)
        sinks = tuple(made if sink.name == name else sink for sink in self.pipeline.spec.sinks)
        spec = self.pipeline.spec.model_copy(update={"sinks": sinks})
        self.pipeline = self.pipeline.model_copy(update={"spec": spec})
        self._versions[name], self._generations[name] = told.version, told.generation
        return made != before
