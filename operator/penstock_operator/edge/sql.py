"""The expressions of a pipeline, compiled as `penstock validate` does it: in a process of its own that may use so much time
and memory and no more, because anybody who may write a pipeline writes what is compiled here.
"""

from __future__ import annotations

import asyncio
import collections
import hashlib
import json
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from penstock.core import errors
from penstock_operator import names, reconcile, revision, snapshot

CPU_SECONDS: Final = 20
MEMORY_BYTES: Final = 4 << 30
"""Of address space: the engine reserves far more than it uses."""
_WALL_SECONDS: Final = 300.0
_AT_ONCE: Final = 2
_MOST_WAITING: Final = 32
_MOST_REMEMBERED: Final = 2048
_UNTOLD_SECONDS: Final = 300.0
"""How long a compiler that could not say what it found is believed to have found something."""
# The limits are set in the child itself: between fork and exec no Python may run in a process with threads.
_LIMITED: Final = f"""
import resource, runpy, sys
for what, most in ((resource.RLIMIT_CPU, {CPU_SECONDS}), (resource.RLIMIT_AS, {MEMORY_BYTES}), (resource.RLIMIT_CORE, 0)):
    resource.setrlimit(what, (most, most))
sys.argv = ["penstock", "validate", "-", "-o", "json"]
runpy.run_module("penstock.cli.main", run_name="__main__")
"""
_COMMAND: Final = (sys.executable, "-c", _LIMITED)


class PendingError(Exception):
    """The expressions are being compiled; whoever asked is told when that is done."""


class Checker:
    """`done` is called with each pipeline whose expressions were compiled since somebody asked; `monotonic` is in seconds."""

    def __init__(
        self,
        done: Callable[[reconcile.PipelineRef], None],
        monotonic: Callable[[], float],
        command: Sequence[str] = _COMMAND,
    ) -> None:
        self._done, self._monotonic, self._command = done, monotonic, tuple(command)
        self._known: collections.OrderedDict[str, tuple[tuple[errors.Problem, ...], float]] = collections.OrderedDict()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def problems(self, pipeline: snapshot.Manifest, children: Sequence[snapshot.Manifest]) -> tuple[errors.Problem, ...]:
        """What is wrong with the expressions. Raises PendingError.

        What runs already was compiled once, so an operator that starts anew does not compile everything again.
        """
        asked = _asked(pipeline)
        if not _has_sql(asked["spec"]) or _was_accepted(asked, pipeline["metadata"]["name"], children):
            return ()
        key = hashlib.sha256(revision.as_text(asked["spec"]).encode()).hexdigest()
        found, until = self._known.get(key, ((), 0.0))
        if until > self._monotonic():
            self._known.move_to_end(key)
            return found
        ref = reconcile.PipelineRef(namespace=pipeline["metadata"]["namespace"], name=pipeline["metadata"]["name"])
        if key not in self._running:
            self._running[key] = asyncio.create_task(self._compile(key, asked))
        self._running[key].add_done_callback(lambda _: self._done(ref))
        raise PendingError(f"the expressions of {ref.namespace}/{ref.name} are being compiled")

    @property
    def is_busy(self) -> bool:
        """Whether so much waits for the compiler that nobody should wait for an answer."""
        return len(self._running) >= _MOST_WAITING

    async def compiled(self, pipeline: snapshot.Manifest) -> tuple[errors.Problem, ...]:
        """What is certainly wrong with the expressions; waits for the compiler."""
        asked = _asked(pipeline)
        if not _has_sql(asked["spec"]):
            return ()
        key = hashlib.sha256(revision.as_text(asked["spec"]).encode()).hexdigest()
        if key not in self._known:
            if key not in self._running:
                self._running[key] = asyncio.create_task(self._compile(key, asked))
            # Whoever asks next, or the look that follows, has the use of it when this one's patience is over.
            await asyncio.shield(self._running[key])
        found, until = self._known.get(key, ((), 0.0))
        return found if until == math.inf else ()

    async def _compile(self, key: str, asked: dict[str, Any]) -> None:
        try:
            async with self._turns:
                said = await self._said(asked)
            found, why = _told(*said)
            until = self._monotonic() + _UNTOLD_SECONDS if why else math.inf
            self._known[key] = ((_too_much(why),) if why else found), until
            if len(self._known) > _MOST_REMEMBERED:
                self._known.popitem(last=False)
        finally:
            del self._running[key]

    async def _said(self, asked: dict[str, Any]) -> tuple[bytes, str]:
        """What the compiler printed, and its last words where it failed."""
        try:
            pipe = asyncio.subprocess.PIPE
            child = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe, stderr=pipe)
        except OSError as error:
            return b"", str(error)
        try:
            async with asyncio.timeout(_WALL_SECONDS):
                out, err = await child.communicate(revision.as_text(asked).encode())
        except TimeoutError:
            return b"", f"no answer after {_WALL_SECONDS:.0f} s"
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        last = err.decode(errors="replace").strip().splitlines()[-1:]
        return out, last[0] if last else f"exit code {child.returncode}"

    async def close(self) -> None:
        """End what is being compiled."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _told(out: bytes, last_words: str) -> tuple[tuple[errors.Problem, ...], str]:
    """What was found, or why that can't be told."""
    try:
        (verdict,) = json.loads(out)
    except ValueError:
        return (), last_words
    return tuple(errors.Problem(**{**one, "line": 0}) for one in verdict["problems"]), ""


def _too_much(why: str) -> errors.Problem:
    """Expressions that kill their compiler are not run; one that died of something else is asked again a little later."""
    message = f"can't be compiled within {CPU_SECONDS} s and {MEMORY_BYTES >> 30} GiB ({why[:300]})"
    return errors.Problem(field="spec.transform", value="", message=message, remedy="Make its expressions smaller.")


def _asked(pipeline: snapshot.Manifest) -> dict[str, Any]:
    """The object without its name: pipelines with the same expressions are compiled once."""
    reduced = revision.reduced(pipeline, None)
    return {**reduced, "metadata": {"name": "pipeline", "namespace": "default"}, "spec": _compiled_part(reduced["spec"])}


def _compiled_part(spec: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key not in ("lifecycle", "pods", "updates", "serviceAccountName")}


def _has_sql(spec: dict[str, Any]) -> bool:
    return any((spec.get("transform") or {}).values()) or any(_has_expression(one) for one in spec["sinks"])


def _has_expression(sink: dict[str, Any]) -> bool:
    told = sink.get("kafka") or {}
    return bool(sink.get("when") or told.get("key") or told.get("tombstone") or told.get("headers")) or isinstance(
        _target(sink), dict
    )


def _target(sink: dict[str, Any]) -> Any:
    """The table or topic: a text, or an object with expressions."""
    for part in sink.values():
        if isinstance(part, dict):
            for name in ("table", "topic"):
                if name in part:
                    return part[name]
    return ""


def _was_accepted(asked: dict[str, Any], name: str, children: Sequence[snapshot.Manifest]) -> bool:
    record = next(
        (one for one in children if one["kind"] == "ConfigMap" and one["metadata"]["name"] == names.accepted(name)), None
    )
    if record is None:
        return False
    try:
        accepted = json.loads(record.get("data", {}).get("pipeline.json", ""))["spec"]
    except (ValueError, KeyError, TypeError):
        return False
    return {**_compiled_part(accepted), "log": None} == {**asked["spec"], "log": None}
