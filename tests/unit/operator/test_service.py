"""How often a pipeline is looked at, whatever comes of it. Nothing is listened to and nobody is asked."""

from __future__ import annotations

import pytest
from tests.unit.operator import cluster as examples

from penstock_operator import reconcile, snapshot
from penstock_operator.edge import api, service, sql, tokens

_REF = reconcile.PipelineRef(namespace="web", name="clicks")
_REFUSAL = snapshot.Refusal(child="Deployment a", reason="Forbidden", message="quota")


class _Looks:
    """A service whose looks end as told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.service = service.Service(examples.SETTINGS, None, tokens.Tokens((b"k" * 40,)))  # type: ignore[arg-type]
        self.outcome: reconcile.Outcome | Exception = reconcile.Outcome(again=False)
        monkeypatch.setattr(service.reconcile, "reconcile", self._reconcile)

    async def _reconcile(self, *_: object) -> reconcile.Outcome:
        self.service._cluster.last[_REF] = snapshot.Snapshot(pipeline={})
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def look(self, *, urgent: bool = False) -> bool:
        """What an event about the pipeline does: whether there was a look."""
        self.service._queue.add(_REF, at_once=urgent)
        if not len(self.service._queue):
            return False
        await self.service._look(await self.service._queue.get())
        return True


async def test_somebody_who_undoes_each_change_is_not_fought_at_full_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a hot loop with another controller, or a webhook that rewrites what is applied."""
    looks = _Looks(monkeypatch)
    looks.outcome = reconcile.Outcome(again=True)
    seen = [await looks.look() for _ in range(20)]
    assert seen.count(True) == service.MOST_IN_A_ROW + 1
    assert await looks.look(urgent=True)  # an edit
    looks.service._queue.close()


@pytest.mark.parametrize(
    "outcome",
    [
        reconcile.Outcome(again=True, refusals=(_REFUSAL,)),
        api.ApiError(503, "ServiceUnavailable", ""),
        api.AwayError("no answer"),
        ValueError("a mistake of ours"),
    ],
)
async def test_what_fails_comes_back_later_and_ends_nothing(
    outcome: reconcile.Outcome | Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches one pipeline that ends the operator, or keeps it busy."""
    looks = _Looks(monkeypatch)
    looks.outcome = outcome
    assert [await looks.look() for _ in range(3)] == [True, False, False]
    assert len(looks.service._queue._later) == 1
    looks.service._queue.close()


async def test_a_look_that_waits_for_the_compiler_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches an edit that is looked at a minute after it was compiled."""
    looks = _Looks(monkeypatch)
    looks.outcome = sql.PendingError("compiling")
    assert await looks.look()
    assert await looks.look()
