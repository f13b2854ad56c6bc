"""What the pipelines that run have of topics, in all namespaces that are looked after: a new one learns by it that it is second.

It is filled before the first look from the records of what was accepted, and from each look since. Between the decision that a
pipeline may run and its record lies a call to the cluster: whoever is second in that moment is turned back by `take`.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from penstock.core import errors
from penstock_operator import claims, names, reconcile, revision, snapshot
from penstock_operator.resources import config


class TakenError(Exception):
    """Another pipeline was accepted a moment ago with what this one asks for. A new look tells."""


class Claims:
    """`due` is called with a pipeline that was in somebody's shadow when that one has changed or is gone."""

    def __init__(self, due: Callable[[reconcile.PipelineRef], None]) -> None:
        self._due = due
        self._held: dict[reconcile.PipelineRef, claims.Held] = {}
        self._writing: collections.defaultdict[str, set[reconcile.PipelineRef]] = collections.defaultdict(set)
        """By the prefix of a log: who writes into a topic of such a name."""
        self._shadowed: collections.defaultdict[reconcile.PipelineRef, set[reconcile.PipelineRef]] = collections.defaultdict(set)

    @property
    def known(self) -> set[reconcile.PipelineRef]:
        """The pipelines that were accepted."""
        return set(self._held)

    def know(self, records: Iterable[snapshot.Manifest]) -> None:
        """These were accepted. A record of another release says nothing here; its pipeline says so itself."""
        for record in records:
            if (found := _read(record)) is not None:
                self._put(_ref(found), found)

    def rivals(self, live: snapshot.Manifest, children: Iterable[snapshot.Manifest]) -> tuple[claims.Held, ...]:
        """What a look at a pipeline has to know of the others: who writes into its log, and whose log it may write into."""
        ref = reconcile.PipelineRef(namespace=live["metadata"]["namespace"], name=live["metadata"]["name"])
        self.know(one for one in children if config.is_record(one))
        others = set(self._writing.get(f"{ref.namespace}.{ref.name}", ()))
        for topic in _topics(live):
            others |= self.known if topic is None else self._whose_log(topic)
        others.discard(ref)
        for other in others:
            self._shadowed[other].add(ref)
        return tuple(self._held[other] for other in sorted(others, key=_order))

    def _whose_log(self, topic: str) -> set[reconcile.PipelineRef]:
        namespace, _, name = claims.log_of(topic).partition(".")
        return {reconcile.PipelineRef(namespace=namespace, name=name)} & self._held.keys()

    def take(self, record: snapshot.Manifest) -> None:
        """It is about to be accepted. Raises TakenError."""
        found = _read(record)
        if found is None:
            return
        ref = _ref(found)
        others = [self._held[other] for other in self.known - {ref}]
        if claims.problems(found, self._held.get(ref), others):
            raise TakenError(f"{ref.namespace}/{ref.name}: another pipeline was accepted first with a topic of its")
        self._put(ref, found)

    def forget(self, pipeline: reconcile.PipelineRef) -> None:
        """It is gone."""
        before = self._held.pop(pipeline, None)
        for one in before.written if before else ():
            self._writing[claims.log_of(one.topic)].discard(pipeline)
        self._free(pipeline)

    def _put(self, ref: reconcile.PipelineRef, found: claims.Held) -> None:
        if self._held.get(ref) == found:
            return
        self.forget(ref)
        self._held[ref] = found
        for one in found.written:
            self._writing[claims.log_of(one.topic)].add(ref)

    def _free(self, pipeline: reconcile.PipelineRef) -> None:
        for other in sorted(self._shadowed.pop(pipeline, ()), key=_order):
            self._due(other)


def _ref(found: claims.Held) -> reconcile.PipelineRef:
    return reconcile.PipelineRef(namespace=found.namespace, name=found.name)


def _order(ref: reconcile.PipelineRef) -> Any:
    return ref.namespace, ref.name


def _topics(live: snapshot.Manifest) -> Iterator[str | None]:
    """What sinks write to, of an object that nobody has checked yet; None: a template, which may make many names."""
    for sink in live["spec"].get("sinks", ()):
        if told := sink.get("kafka"):
            topic = told.get("topic")
            yield topic if isinstance(topic, str) else None


def _read(record: snapshot.Manifest) -> claims.Held | None:
    """None also for what somebody else has made to look like a record of a pipeline elsewhere."""
    try:
        found = claims.held(revision.read(config.object_in(record), generation=0, uid="").pipeline)
    except (errors.InvalidPipelineError, ValueError, KeyError):
        return None
    metadata = record["metadata"]
    is_its_own = (metadata["namespace"], metadata["name"]) == (found.namespace, names.accepted(found.name))
    return found if is_its_own else None
