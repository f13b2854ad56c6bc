"""Who of several operators works, over a stand-in for the API and with a clock of the test's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from penstock_operator.edge import api, lease


class _Api:
    """One Lease, kept with versions as an API server does."""

    def __init__(self) -> None:
        self.there: dict[str, Any] | None = None
        self.version, self.away = 0, False

    async def call(self, method: str, path: str, *, body: Mapping[str, Any] | None = None, **_: Any) -> dict[str, Any]:
        if self.away:
            raise api.AwayError("away")
        if method == "GET":
            if self.there is None:
                raise api.ApiError(404, "NotFound", path)
            return dict(self.there)
        assert body is not None
        if method == "POST" and self.there is not None:
            raise api.ApiError(409, "AlreadyExists", path)
        if method == "PUT" and body["metadata"].get("resourceVersion") != str(self.version):
            raise api.ApiError(409, "Conflict", path)
        self.version += 1
        self.there = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}}
        return dict(self.there)


class _GoneError(Exception):
    """The process would have ended."""


class _One:
    """An operator, and its clock."""

    def __init__(self, there: _Api, holder: str) -> None:
        self.now = 1000.0
        self.lease = lease.Lease(
            there,  # type: ignore[arg-type]
            namespace="penstock-system",
            name="operator",
            holder=holder,
            monotonic=lambda: self.now,
            lost=self._end,
        )

    def _end(self) -> None:
        raise _GoneError

    async def tried(self, later: float = 0.0) -> bool:
        self.now += later
        return await self.lease._tried()


async def test_one_of_two_has_it_and_the_other_takes_over_only_when_nothing_was_heard() -> None:
    """Catches two operators at once, and a crash after which nobody works."""
    there = _Api()
    first, second = _One(there, "a"), _One(there, "b")
    assert await first.tried()
    assert not await second.tried()
    for _ in range(5):
        assert await first.tried(5)
        assert not await second.tried(5)
    assert not await second.tried(lease.SECONDS - 1)
    assert await second.tried(2)
    assert not await first.tried(100)  # its own clock says little: what counts is when it saw the other one last


async def test_what_is_given_back_is_taken_at_once() -> None:
    """Catches an orderly end after which the next operator waits as after a crash."""
    there = _Api()
    first, second = _One(there, "a"), _One(there, "b")
    assert await first.tried()
    await second.tried()
    await first.lease.release()
    assert await second.tried()
    assert there.there is not None
    assert there.there["spec"]["leaseTransitions"] == 1


async def test_a_holder_that_can_t_renew_ends_before_another_may_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a holder that goes on without the API, beside the one that has taken over."""
    there = _Api()
    holder = _One(there, "a")
    assert await holder.tried()
    there.away = True
    began = holder.now

    async def asleep(seconds: float) -> None:
        holder.now += seconds

    monkeypatch.setattr("asyncio.sleep", asleep)
    with pytest.raises(_GoneError):
        await holder.lease.hold()
    assert lease.DEADLINE_SECONDS <= holder.now - began < lease.SECONDS


async def test_a_holder_that_was_frozen_ends_before_it_does_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a process that wakes up after a minute and believes that it still has the Lease."""
    there = _Api()
    holder = _One(there, "a")
    await holder.tried()
    version = there.version

    async def frozen(seconds: float) -> None:
        holder.now += 60

    monkeypatch.setattr("asyncio.sleep", frozen)
    with pytest.raises(_GoneError):
        await holder.lease.hold()
    assert there.version == version
