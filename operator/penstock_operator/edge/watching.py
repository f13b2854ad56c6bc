"""kopf watches, and nothing else: what happened to any object puts the name of its pipeline on the queue.

Handlers keep no state in objects (no annotation, no finalizer: only `on.event`), and are never the truth: a look lists. What
they have told of is remembered as far as it takes to see that a watch has gone deaf.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import kopf

from penstock_operator import names, permissions, reconcile
from penstock_operator.edge import api
from penstock_operator.replaying import situation
from penstock_operator.resources import identity

INACTIVITY_SECONDS: Final = 70.0
"""The API server sends a bookmark each minute."""
_SERVER_SECONDS: Final = 300
_LONGEST_BACKOFF_SECONDS: Final = 4.0


class Backoffs:
    """Short, and without end: kopf asks for a new row of them for each call."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.2, 0.5, 1.0, 2.0)
        while True:
            yield random.uniform(2.0, _LONGEST_BACKOFF_SECONDS)  # noqa: S311 - a wait


class Watches:
    """`heard(pipeline, urgent)` is called for each event, in the loop this is made in; urgent is one that changes what is asked
    for. `heard_replay` is the same for replays, with their pipeline."""

    def __init__(
        self, heard: Callable[[reconcile.PipelineRef, bool], None], heard_replay: Callable[[reconcile.PipelineRef, bool], None]
    ) -> None:
        self._heard, self._heard_replay = heard, heard_replay
        self._loop = asyncio.get_running_loop()
        self._pipelines: dict[reconcile.PipelineRef, tuple[Any, ...]] = {}
        self._replays: dict[str, tuple[Any, ...]] = {}
        self._by_label: dict[tuple[str, str], reconcile.PipelineRef] = {}
        self.versions: dict[reconcile.PipelineRef, str] = {}
        """The last version of each pipeline that a watch has told of."""

    def registry(self, kinds: Sequence[tuple[str, str]]) -> kopf.OperatorRegistry:
        """With a handler for pipelines and one for each of these kinds."""
        made = kopf.OperatorRegistry()
        login = kopf.login_with_kubeconfig if api.kubeconfig_of() else kopf.login_with_service_account
        kopf.on.login(registry=made, id="login")(login)
        kopf.on.event("penstock.dev", "v1alpha1", "batchpipelines", registry=made, id="pipeline")(self._of_pipeline)
        kopf.on.event("penstock.dev", "v1alpha1", "deadletterreplays", registry=made, id="replay")(self._of_replay)
        for api_version, kind in kinds:
            group, _, version = api_version.rpartition("/")
            listen = kopf.on.event(group, version, permissions.PLURALS[kind], registry=made, id=f"child-{kind}")
            listen(self._of_child)
        return made

    async def _of_pipeline(self, event: Any, **_: Any) -> None:
        self._loop.call_soon_threadsafe(self._told_of_pipeline, event["type"], event["object"]["metadata"])

    async def _of_replay(self, event: Any, **_: Any) -> None:
        told = event["object"]
        pipeline = str((told.get("spec", {}).get("pipelineRef") or {}).get("name", ""))
        self._loop.call_soon_threadsafe(self._told_of_replay, event["type"], told["metadata"], pipeline)

    async def _of_child(self, event: Any, **_: Any) -> None:
        self._loop.call_soon_threadsafe(self._told_of_child, event["object"]["metadata"])

    def _told_of_pipeline(self, kind: str | None, metadata: Any) -> None:
        ref = reconcile.PipelineRef(namespace=metadata["namespace"], name=metadata["name"])
        if kind == "DELETED":
            self._pipelines.pop(ref, None)
            self.versions.pop(ref, None)
            self._heard(ref, True)
            return
        self.know(ref)
        self.versions[ref] = metadata.get("resourceVersion", "")
        seen = metadata["uid"], metadata.get("generation"), metadata.get("deletionTimestamp")
        # Own status writes come back as events too; they say nothing new.
        if self._pipelines.get(ref) != seen:
            self._pipelines[ref] = seen
            self._heard(ref, True)

    def _told_of_replay(self, kind: str | None, metadata: Any, pipeline: str) -> None:
        uid, seen = metadata["uid"], (metadata.get("generation"), metadata.get("deletionTimestamp"))
        if kind == "DELETED":
            self._replays.pop(uid, None)
        elif self._replays.get(uid) == seen:
            return
        else:
            self._replays[uid] = seen
        self._heard_replay(reconcile.PipelineRef(namespace=metadata["namespace"], name=pipeline), True)

    def _told_of_child(self, metadata: Any) -> None:
        label = metadata.get("labels", {}).get(identity.PIPELINE_LABEL, "")
        ref = self._by_label.get((metadata.get("namespace", ""), label))
        if ref is not None and metadata.get("labels", {}).get(identity.ROLE_LABEL) == situation.ROLE:
            self._heard_replay(ref, False)
        elif ref is not None:
            self._heard(ref, False)

    def know(self, ref: reconcile.PipelineRef) -> None:
        """A label holds no more than 63 characters, so the name behind one is looked up."""
        self._by_label[ref.namespace, names.label(ref.name)] = ref

    def forget(self, ref: reconcile.PipelineRef) -> None:
        """It is gone."""
        self._pipelines.pop(ref, None)
        self.versions.pop(ref, None)
        self._by_label.pop((ref.namespace, names.label(ref.name)), None)


def settings(kinds: Sequence[tuple[str, str]]) -> kopf.OperatorSettings:
    """kopf as it is wanted: silent in the cluster, and quick to come back."""
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    made.scanning.disabled = True
    made.networking.error_backoffs = Backoffs()
    made.networking.request_timeout = 30.0
    made.networking.connect_timeout = 5.0
    made.watching.connect_timeout = 5.0
    made.watching.inactivity_timeout = INACTIVITY_SECONDS
    made.watching.server_timeout = _SERVER_SECONDS
    made.watching.chunk_size = 500
    for api_version, kind in kinds:
        group = permissions.group(api_version)
        made.watching.label_selectors[group, permissions.PLURALS[kind]] = identity.PIPELINE_LABEL
    return made


def hush() -> None:
    """kopf tells of each call of a handler, and of each attempt to connect as an error."""
    logging.getLogger("kopf").setLevel(logging.WARNING)
    for name in ("kopf.objects", "kopf._core.reactor.running"):
        logging.getLogger(name).setLevel(logging.ERROR)


async def watch(watches: Watches, kinds: Sequence[tuple[str, str]], namespaces: Sequence[str], stop: threading.Event) -> None:
    """Until `stop` is set, which ends it within seconds. `namespaces` empty: all.

    In a thread and a loop of its own: at its end kopf cancels every task that was begun since, whoever began it.
    """
    work = kopf.operator(
        registry=watches.registry(kinds),
        settings=settings(kinds),
        # kopf's own choice is the user's name, which a container's user need not have. It exports no name for the type.
        identity="penstock",  # type: ignore[arg-type]
        standalone=True,
        clusterwide=not namespaces,
        namespaces=list(namespaces),
        stop_flag=stop,
    )
    try:
        await asyncio.to_thread(asyncio.run, work)
    finally:
        stop.set()
