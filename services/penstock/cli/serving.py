"""What every command that serves has in common: addresses, signals, and errors turned into exit codes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import click

from penstock.cli import exits
from penstock.core import delivery, failpoints
from penstock.ingest import secret
from penstock.log import port
from penstock.machine import accepting, renames
from penstock.machine import failpoints as machine_failpoints
from penstock.machine.peers import gate
from penstock.sinks import port as sinks_port

_HIGHEST_PORT = 65_535
_LOOK_SECONDS = 0.5


class Address(click.ParamType[str]):
    """`host:port`; port 0 takes a free one."""

    name = "HOST:PORT"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        host, _, port_text = value.rpartition(":")
        if not host or not port_text.isdecimal() or int(port_text) > _HIGHEST_PORT:
            self.fail(f'"{value}" is not HOST:PORT, such as 127.0.0.1:8080', param, ctx)
        return value


class Addresses(Address):
    """One or more of them, with commas between."""

    name = "HOST:PORT[,…]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        # One that is named twice is one.
        return ",".join(dict.fromkeys(super(Addresses, self).convert(one.strip(), param, ctx) for one in value.split(",")))


def serve(process: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """The exit code of `process`, run on an event loop of its own; what keeps it from starting as one line and its remedy."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            return runner.run(process())
        except (port.LogLockedError, secret.SecretError, gate.OpenDoorError, accepting.EditRefusedError) as error:
            raise exits.Invalid(str(error)) from error
        except (port.LogError, renames.RenameWaitsError, OSError) as error:
            raise exits.Unreachable(str(error)) from error
        except (sinks_port.SinkError, delivery.WriteFailedError) as error:
            raise exits.Unreachable(error.failure.message, error.failure.remedy) from error


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop  # type: ignore[return-value]


def failpoint() -> failpoints.Failpoint:
    """What a test wants to happen at named steps of this process; nothing where it does not say so."""
    told = os.environ.get(machine_failpoints.VARIABLE, "")
    try:
        armed = machine_failpoints.armed(told)
    except machine_failpoints.FailpointError as error:
        raise exits.Invalid(str(error)) from error
    if told:
        click.echo(f"{machine_failpoints.VARIABLE} is set: {told}", err=True)
    return armed


def say_waiting(why: str) -> None:
    """For a person; a log line says the same."""
    if sys.stderr.isatty():
        click.echo(f"waiting: {why} (Ctrl-C ends it)" if why else "waiting is over", err=True)


class Stop:
    """The first signal asks for a drain; one that comes while it is under way ends the process, like kill -9 and as safely."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.draining = False
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self.draining:
            # Closing in good order could wait for a store that hangs, and so could the interpreter for its threads.
            click.echo("stopped at once: the next start goes on from here", err=True)
            sys.stderr.flush()
            os._exit(exits.INTERRUPTED)
        self.asked.set()

    def end_after(self, seconds: float) -> None:
        """Whatever hangs then: the process ends, as with a second signal."""
        asyncio.get_running_loop().call_later(seconds, self._on_signal)

    async def unless(self, broken: Callable[[], str]) -> str:
        """Wait for a signal, or until `broken` says why waiting is no use; what it said."""
        while not self.asked.is_set():
            if why := broken():
                return why
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self.asked.wait()
            except TimeoutError:
                continue
        return ""

    async def during(self, work: Awaitable[None]) -> bool:
        """Do `work`, such as starting, which a signal breaks off; whether it was done."""
        doing, stopped = asyncio.ensure_future(work), asyncio.create_task(self.asked.wait())
        await asyncio.wait({doing, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not doing.done():
            doing.cancel()
            await asyncio.gather(doing, return_exceptions=True)
            return False
        await doing
        return True
