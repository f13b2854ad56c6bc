"""Who of several operators works: the holder of a Lease, judged by this process's own clock.

What counts is how long ago a change of the Lease was *seen*, never the times that are written in it: clocks of machines differ.
A holder that could not renew in time ends its process before anybody else may begin.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable
from typing import Any, Final

import structlog

from penstock_operator.edge import api

SECONDS: Final = 15.0
"""Without a sign of life for so long, another one takes over."""
DEADLINE_SECONDS: Final = 10.0
"""A holder that has not renewed for so long is gone."""
RETRY_SECONDS: Final = 2.0
_CALL_SECONDS: Final = 3.0
_VERSION: Final = "coordination.k8s.io/v1"

_log = structlog.get_logger()


class Lease:
    """`lost` is called when the Lease may soon be somebody else's; it does not return."""

    def __init__(
        self,
        connection: api.Api,
        *,
        namespace: str,
        name: str,
        holder: str,
        monotonic: Callable[[], float],
        lost: Callable[[], None],
    ) -> None:
        self._api, self._namespace, self._name, self._holder = connection, namespace, name, holder
        self._monotonic, self._lost = monotonic, lost
        self._seen: tuple[Any, Any] | None = None
        self._seen_at = 0.0

    async def acquire(self) -> None:
        """Return when this process is the one."""
        while not await self._tried():  # noqa: ASYNC110 - it is another process that changes it
            await asyncio.sleep(RETRY_SECONDS)
        _log.info("lease_acquired", lease=self._name, holder=self._holder)

    async def hold(self) -> None:
        """Renew it until cancelled."""
        renewed = self._monotonic()
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            if self._monotonic() - renewed >= DEADLINE_SECONDS:
                self._lost()
            began = self._monotonic()
            if await self._tried():
                renewed = began
            if self._monotonic() - renewed >= DEADLINE_SECONDS:
                self._lost()

    async def release(self) -> None:
        """Let the next one begin at once."""
        try:
            there = await self._found()
            if there and there["spec"].get("holderIdentity") == self._holder:
                await self._write({**there, "spec": {**there["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}})
        except (api.ApiError, api.AwayError, TimeoutError) as error:
            _log.warning("lease_not_released", error=str(error))

    async def _tried(self) -> bool:
        """Whether this process has it, after one try."""
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                return await self._try()
        except (api.ApiError, api.AwayError, TimeoutError) as error:
            if not isinstance(error, api.ApiError) or error.status != 409:
                _log.warning("lease_not_reached", error=str(error) or type(error).__name__)
            return False

    async def _try(self) -> bool:
        there = await self._found()
        if there is None:
            await self._api.call("POST", self._place(), body=self._manifest(0))
            return True
        spec = there["spec"]
        seen = spec.get("holderIdentity"), spec.get("renewTime")
        if seen != self._seen:
            self._seen, self._seen_at = seen, self._monotonic()
        mine = seen[0] == self._holder
        if seen[0] and not mine and self._monotonic() - self._seen_at < SECONDS:
            return False
        made = self._manifest(int(spec.get("leaseTransitions", 0)) + (not mine))
        await self._write({**there, "spec": {**made["spec"], **({"acquireTime": spec["acquireTime"]} if mine else {})}})
        return True

    async def _found(self) -> dict[str, Any] | None:
        try:
            return await self._api.call("GET", self._place(self._name))
        except api.ApiError as error:
            if error.status == 404:
                return None
            raise

    async def _write(self, made: dict[str, Any]) -> None:
        await self._api.call("PUT", self._place(self._name), body=made)

    def _place(self, name: str = "") -> str:
        return api.place(_VERSION, "Lease", self._namespace, name)

    def _manifest(self, transitions: int) -> dict[str, Any]:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {
            "holderIdentity": self._holder,
            "leaseDurationSeconds": int(SECONDS),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": transitions,
        }
        metadata = {"name": self._name, "namespace": self._namespace}
        return {"apiVersion": _VERSION, "kind": "Lease", "metadata": metadata, "spec": spec}
