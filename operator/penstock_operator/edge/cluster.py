"""The port `reconcile.Cluster` over a real API: snapshots from lists, server-side apply under one name, status, tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from penstock.api.model import pipeline as api_pipeline
from penstock.core import errors
from penstock_operator import actions, children, names, reconcile, snapshot
from penstock_operator.edge import api, claiming, recorder, tokens
from penstock_operator.reporting import events
from penstock_operator.resources import config, guards, identity

MANAGER: Final = "penstock"
POD: Final = ("v1", "Pod")
NOT_REPLAYS: Final = f"{identity.ROLE_LABEL}!=replay"
"""What is made for a replay carries the pipeline's name too, and is looked at elsewhere (`edge.replays`)."""
_REFUSED: Final = (400, 403, 404, 405, 409, 413, 415, 422)
_BAD_MANIFEST: Final = "failed to create typed patch object"
_PAGE: Final = "500"


class Pods(Protocol):
    """Who asks the pods."""

    def reports(self, pipeline: reconcile.PipelineRef, pods: Sequence[snapshot.Manifest]) -> tuple[snapshot.PodReport, ...]:
        """What they said last, without waiting; pods that are new are asked from now on."""

    async def tell(self, pipeline: reconcile.PipelineRef, action: actions.ToPod) -> None:
        """Tell a pod something; one that doesn't answer is told again at the next look."""


class Sql(Protocol):
    """Who compiles expressions."""

    async def problems(self, pipeline: snapshot.Manifest, children: Sequence[snapshot.Manifest]) -> tuple[errors.Problem, ...]:
        """What is wrong with them. Raises PendingError while that isn't known yet."""


class Cluster:
    """One for the process. `kinds` are optional kinds that the cluster has."""

    def __init__(
        self,
        connection: api.Api,
        pods: Pods,
        sql: Sql,
        known: tokens.Tokens,
        told: recorder.Recorder,
        claimed: claiming.Claims,
    ) -> None:
        self._api, self._pods, self._sql, self._tokens, self._recorder = connection, pods, sql, known, told
        self.claims = claimed
        self.kinds: frozenset[str] = frozenset()

    async def look_for_kinds(self) -> None:
        """Which optional kinds there are; needs no rights."""
        version = next(version for version, kind in children.MANAGED if kind == guards.POD_MONITOR)
        try:
            found = await self._api.call("GET", f"/apis/{version}")
        except api.ApiError as error:
            if error.status != 404:
                raise
            self.kinds = frozenset()
            return
        self.kinds = frozenset({guards.POD_MONITOR} & {one["kind"] for one in found.get("resources", ())})

    async def learn_claims(self, namespaces: Sequence[str]) -> None:
        """What runs already, before anything new may. Raises AwayError, ApiError."""
        query = {"labelSelector": f"{identity.ROLE_LABEL}={config.ACCEPTED_ROLE}"}
        for namespace in namespaces or ("",):
            self.claims.know(await self.listed("v1", "ConfigMap", namespace, query))

    def watched(self) -> list[tuple[str, str]]:
        """Version and kind of all that a snapshot lists beside the pipeline itself."""
        absent = {guards.POD_MONITOR} - self.kinds
        return [*(one for one in children.MANAGED if one[1] not in absent), POD]

    async def observe(self, pipeline: reconcile.PipelineRef) -> snapshot.Snapshot | None:
        """Raises AwayError, ApiError, PendingError."""
        selector = f"{identity.PIPELINE_LABEL}={names.label(pipeline.name)},{NOT_REPLAYS}"
        kind = (api_pipeline.API_VERSION, "BatchPipeline")
        found, *listed = await asyncio.gather(
            self.listed(*kind, pipeline.namespace, {"fieldSelector": f"metadata.name={pipeline.name}"}),
            *(self.listed(*one, pipeline.namespace, {"labelSelector": selector}) for one in self.watched()),
        )
        if not found:
            return None
        there = tuple(one for kind_listed in listed[:-1] for one in kind_listed)
        return snapshot.Snapshot(
            pipeline=found[0],
            children=there,
            pods=tuple(listed[-1]),
            reports=self._pods.reports(pipeline, listed[-1]),
            kinds=self.kinds,
            rivals=self.claims.rivals(found[0], there),
            sql=await self._sql.problems(found[0], there),
        )

    async def listed(
        self, api_version: str, kind: str, namespace: str, query: Mapping[str, str] | None = None
    ) -> list[snapshot.Manifest]:
        """All of a kind, of all namespaces where none is named; each with its apiVersion and kind, which lists leave out."""
        found: list[snapshot.Manifest] = []
        more = ""
        while True:
            asked = {"limit": _PAGE, **(query or {}), **({"continue": more} if more else {})}
            page = await self._api.call("GET", api.place(api_version, kind, namespace), query=asked)
            found += [{**one, "apiVersion": api_version, "kind": kind} for one in page.get("items") or ()]
            more = page["metadata"].get("continue", "")
            if not more:
                return found

    async def take(self, pipeline: reconcile.PipelineRef, action: actions.Action) -> None:
        """Raises RefusedError; AwayError, ApiError and TakenError where it may be tried again."""
        try:
            match action:
                case actions.Apply(manifest=manifest, ours=ours):
                    if config.is_record(manifest):
                        self.claims.take(manifest)
                    await self._apply(manifest, ours=ours)
                case actions.Delete():
                    await self._delete(pipeline, action)
                case actions.CreateToken(manifest=manifest, key=key):
                    await self._create_token(pipeline, manifest, key)
                case actions.Tell() | actions.Follow() | actions.OpenCircuit():
                    await self._pods.tell(pipeline, action)
        except api.ApiError as error:
            if error.status in _REFUSED or _BAD_MANIFEST in error.message:
                raise reconcile.RefusedError(_refusal(action, error)) from error
            raise

    async def _apply(self, manifest: dict[str, Any], *, ours: bool) -> None:
        place = api.place(manifest["apiVersion"], manifest["kind"], manifest["metadata"]["namespace"])
        if not ours and await self._is_somebody_elses(manifest):
            raise api.ApiError(409, "NameTaken", "an object of this name is there already, and is not this pipeline's")
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict", **({"force": "true"} if ours else {})}
        await self._api.call("PATCH", f"{place}/{manifest['metadata']['name']}", query=query, body=manifest, content=api.APPLY)

    async def _is_somebody_elses(self, manifest: dict[str, Any]) -> bool:
        """Applying takes over whatever says the same, so an object of this name is looked at before it is made."""
        metadata = manifest["metadata"]
        query = {"fieldSelector": f"metadata.name={metadata['name']}"}
        found = await self.listed(manifest["apiVersion"], manifest["kind"], metadata["namespace"], query)
        owners = {one["uid"] for there in found for one in there["metadata"].get("ownerReferences", ())}
        return bool(found) and metadata["ownerReferences"][0]["uid"] not in owners

    async def _delete(self, pipeline: reconcile.PipelineRef, action: actions.Delete) -> None:
        body = {"preconditions": {"uid": action.uid}, "propagationPolicy": "Background"}
        place = api.place(action.api_version, action.kind, pipeline.namespace, action.name)
        try:
            await self._api.call("DELETE", place, body=body)
        except api.ApiError as error:
            if error.status not in (404, 409):
                raise

    async def _create_token(self, pipeline: reconcile.PipelineRef, manifest: dict[str, Any], key: str) -> None:
        body = {**manifest, "stringData": {key: self._tokens.all(pipeline)[0]}}
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict"}
        try:
            await self._api.call("POST", api.place("v1", "Secret", pipeline.namespace), query=query, body=body)
        except api.ApiError as error:
            if error.reason != "AlreadyExists":
                raise

    async def write_status(self, pipeline: reconcile.PipelineRef, uid: str, told: Mapping[str, Any]) -> None:
        """Raises AwayError and ApiError."""
        metadata = {"name": pipeline.name, "namespace": pipeline.namespace, "uid": uid}
        body = {"apiVersion": api_pipeline.API_VERSION, "kind": "BatchPipeline", "metadata": metadata, "status": dict(told)}
        place = api.place(api_pipeline.API_VERSION, "BatchPipeline", pipeline.namespace, pipeline.name)
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict", "force": "true"}
        try:
            await self._api.call("PATCH", f"{place}/status", query=query, body=body, content=api.APPLY)
        except api.ApiError as error:
            if error.status not in (404, 409):  # gone, or another one of the same name by now
                raise

    async def tell(self, pipeline: reconcile.PipelineRef, uid: str, told: Sequence[events.Event]) -> None:
        """Never raises for the cluster's sake."""
        await self._recorder.record(pipeline, uid, told)


def _refusal(action: actions.Action, error: api.ApiError) -> snapshot.Refusal:
    taken = error.status == 409
    bad = _BAD_MANIFEST in error.message or error.status in (400, 415)
    reason = "NameTaken" if taken else "BadManifest" if bad else error.reason or "Refused"
    return snapshot.Refusal(child=_child(action), reason=reason, message=error.message[:1000])


def _child(action: actions.Action) -> str:
    return actions.described(action).split(" ", 1)[1]


def by_pipeline(found: Iterable[snapshot.Manifest]) -> dict[tuple[str, str], list[snapshot.Manifest]]:
    """By namespace and the value of the pipeline label."""
    grouped: dict[tuple[str, str], list[snapshot.Manifest]] = {}
    for one in found:
        metadata = one["metadata"]
        key = metadata["namespace"], metadata.get("labels", {}).get(identity.PIPELINE_LABEL, "")
        grouped.setdefault(key, []).append(one)
    return grouped
