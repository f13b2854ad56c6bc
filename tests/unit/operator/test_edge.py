"""The edge without a cluster: the canary, sweeps, expressions in a child, settings, rights."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import json
import pathlib
import sys
import time
from collections.abc import Mapping
from typing import Any

import pytest
from tests.unit.operator import cluster as examples

from penstock_operator import children, permissions, reconcile, revision, settings, snapshot
from penstock_operator.edge import claiming, cluster, sql, sweep, tokens, watching
from penstock_operator.resources import guards

_REF = reconcile.PipelineRef(namespace="web", name="clicks")
_NOW = datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)


def _event(version: str, kind: str | None = "MODIFIED", generation: int = 1) -> tuple[str | None, dict[str, Any]]:
    return kind, {"namespace": "web", "name": "clicks", "uid": "u", "resourceVersion": version, "generation": generation}


async def test_a_watch_that_no_longer_tells_is_noticed_and_a_slow_one_is_not() -> None:
    """Catches an operator that has gone deaf and stays, and one that ends because of an event on its way."""
    clock = [0.0]
    watches = watching.Watches(lambda ref, urgent: None, lambda ref, urgent: None)
    canary = sweep.Canary(watches, lambda: clock[0])
    watches._told_of_pipeline(*_event("1"))
    heard = []
    for at, listed in ((0, "1"), (10, "2"), (100, "3"), (189, "4"), (190, "5")):
        clock[0] = at
        heard.append(canary.is_deaf({_REF: listed}))
    assert heard == [False, False, False, False, True]
    watches._told_of_pipeline(*_event("4"))
    for at, version in ((200, "5"), (300, "6"), (400, "7"), (500, "8")):
        clock[0] = at
        assert not canary.is_deaf({_REF: f"{version}0"})  # late, but it tells
        watches._told_of_pipeline(*_event(version))
    watches._told_of_pipeline(*_event("80"))
    assert not canary.is_deaf({_REF: "80"})
    clock[0] += 1000
    assert not canary.is_deaf({})
    clock[0] += sweep.DEAF_SECONDS
    assert canary.is_deaf({})  # a deletion that nobody told of


async def test_own_status_writes_cause_no_look() -> None:
    """Catches a look that causes the next one, by the status it writes."""
    heard = []
    watches = watching.Watches(lambda ref, urgent: heard.append((ref, urgent)), lambda ref, urgent: None)
    for event in (_event("1", "ADDED"), _event("2"), _event("3", generation=2), _event("4", "DELETED", 2)):
        watches._told_of_pipeline(*event)
    assert heard == [(_REF, True)] * 3


async def test_a_child_leads_to_its_pipeline_whatever_the_length_of_the_name() -> None:
    """Catches long names, of which a label holds a part, whose children nobody looks after."""
    heard = []
    watches = watching.Watches(lambda ref, urgent: heard.append(ref), lambda ref, urgent: None)
    long = reconcile.PipelineRef(namespace="web", name="n" * 100)
    watches.know(long)
    label = "n" * 54 + "-" + hashlib.sha256(b"n" * 100).hexdigest()[:8]
    watches._told_of_child({"namespace": "web", "labels": {"penstock.dev/pipeline": label}})
    watches._told_of_child({"namespace": "other", "labels": {"penstock.dev/pipeline": label}})
    assert heard == [long]


class _Lists:
    """What a sweep lists."""

    def __init__(self, *objects: dict[str, Any]) -> None:
        self.objects = list(objects)
        self.claims = claiming.Claims(lambda _: None)

    def watched(self) -> list[tuple[str, str]]:
        return [("v1", "Service")]

    async def listed(
        self, api_version: str, kind: str, namespace: str, query: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        return [one for one in self.objects if one["kind"] == kind]


def _object(kind: str, name: str, version: str, **more: Any) -> dict[str, Any]:
    labels = {"penstock.dev/pipeline": "clicks"}
    metadata = {"namespace": "web", "name": name, "uid": f"{kind}/{name}", "resourceVersion": version, "labels": labels}
    return {"kind": kind, "metadata": metadata, **more}


async def test_a_sweep_finds_what_differs_and_nothing_else() -> None:
    """Catches a child that was deleted while the watch was away, and a sweep that looks at everything."""
    status = {"observedAt": "2026-01-31T00:00:00Z"}
    pipeline, service = _object("BatchPipeline", "clicks", "1", status=status), _object("Service", "s", "5")
    lists, due = _Lists(pipeline, service), list[reconcile.PipelineRef]()
    found = [_NOW]
    sweeper = sweep.Sweeper(lists, [], due.append, lambda: found[0])  # type: ignore[arg-type]
    sweeper.seen[_REF] = sweep.of(snapshot.Snapshot(pipeline=pipeline, children=(service,)))
    assert await sweeper.sweep() == {_REF}
    assert due == []
    lists.objects = [pipeline]
    await sweeper.sweep()
    assert due == [_REF]
    lists.objects = [pipeline, service]
    found[0] += datetime.timedelta(minutes=11)
    await sweeper.sweep()
    assert due == [_REF, _REF]
    lists.objects = []
    await sweeper.sweep()
    assert due == [_REF] * 3


_SQL = {"schema": {"fields": [{"name": "id", "type": "String"}]}, "transform": {"filter": {"expression": "id > ''"}}}


async def _compiled(checker: sql.Checker, described: dict[str, Any], there: tuple[dict[str, Any], ...] = ()) -> Any:
    with pytest.raises(sql.PendingError):
        await checker.problems(described, there)
    await asyncio.gather(*checker._running.values())
    return await checker.problems(described, there)


async def test_expressions_are_compiled_once_and_the_asker_is_told() -> None:
    """Catches a compiler for each look, and a pipeline that nobody looks at again when it is done."""
    said = json.dumps([{"problems": [{"field": "f", "value": "v", "message": "m", "remedy": "r", "line": 3}]}])
    told: list[reconcile.PipelineRef] = []
    checker = sql.Checker(told.append, time.monotonic, [sys.executable, "-c", f"import sys; sys.stdin.read(); print({said!r})"])
    (problem,) = await _compiled(checker, examples.pipeline(**_SQL))
    assert (problem.field, problem.line) == ("f", 0)
    await asyncio.sleep(0)
    assert told == [_REF]
    assert await checker.problems(examples.pipeline("orders", **_SQL), ()) == (problem,)
    assert await checker.problems(examples.pipeline(), ()) == ()


async def test_a_compiler_that_dies_is_a_problem_of_the_pipeline() -> None:
    """Catches an expression that kills the compiler and is then taken for a good one, or tried for ever."""
    clock = [0.0]
    command = [sys.executable, "-c", "raise MemoryError('too much')"]
    checker = sql.Checker(lambda ref: None, lambda: clock[0], command)
    (problem,) = await _compiled(checker, examples.pipeline(**_SQL))
    assert problem.field == "spec.transform"
    assert "MemoryError" in problem.message
    clock[0] += 1000  # it may have died of something else
    await _compiled(checker, examples.pipeline(**_SQL))
    gone = sql.Checker(lambda ref: None, time.monotonic, ["/no/such/program"])
    (problem,) = await _compiled(gone, examples.pipeline(**_SQL))
    assert "No such file" in problem.message


async def test_what_runs_already_is_not_compiled_again() -> None:
    """Catches an operator that starts a compiler for each of 500 pipelines when it starts."""
    described = examples.pipeline(**_SQL)
    data = {"pipeline.json": revision.as_text(revision.reduced(described, examples.KAFKA_LOG))}
    record = {"kind": "ConfigMap", "metadata": {"name": "clicks-accepted"}, "data": data}
    checker = sql.Checker(lambda ref: None, time.monotonic, ["false"])
    assert await checker.problems(described, (record,)) == ()
    changed = examples.pipeline(**{**_SQL, "transform": {"filter": {"expression": "id > 'a'"}}})
    with pytest.raises(sql.PendingError):
        await checker.problems(changed, (record,))
    await checker.close()


def test_rights_cover_every_kind_that_is_managed_and_read_nothing_secret() -> None:
    """Catches a kind that is made without a right, and a right to read what nobody should."""
    granted = {one.resource: one for one in permissions.IN_WATCHED_NAMESPACES}
    for api_version, kind in children.MANAGED:
        rule = granted[permissions.PLURALS[kind]]
        assert rule.group == permissions.group(api_version)
        assert {"create", "list", "patch", "watch"} <= set(rule.verbs)
        assert ("delete" in rule.verbs) == (kind != guards.POD_MONITOR)
    assert granted["secrets"].verbs == ("create",)
    assert not any({"get", "*"} & set(one.verbs) for one in permissions.IN_WATCHED_NAMESPACES)


def test_objects_without_a_label_belong_to_nobody() -> None:
    """Catches a list that ends at the first object without labels."""
    bare = {"kind": "Pod", "metadata": {"namespace": "web", "name": "p"}}
    assert cluster.by_pipeline([bare]) == {("web", ""): [bare]}


@pytest.mark.parametrize("text", ["9464", "host:", ":9", "h:70000"])
def test_an_address_that_can_t_be_used_is_named(text: str) -> None:
    """Catches a probe that never answers, because of a typo."""
    with pytest.raises(settings.SettingsError, match="PENSTOCK_METRICS"):
        settings.of_environment({"PENSTOCK_IMAGE": "i", "PENSTOCK_METRICS": text})


def test_a_key_that_anybody_could_guess_is_refused(tmp_path: pathlib.Path) -> None:
    """Catches an empty Secret, from which everybody's tokens would follow."""
    for text in ("", "short", "k" * 40 + "\nshort"):
        (tmp_path / "key").write_text(text)
        with pytest.raises(tokens.KeyFileError, match="at least 32"):
            tokens.read(tmp_path / "key")
    with pytest.raises(tokens.KeyFileError, match="No such file"):
        tokens.read(tmp_path / "none")
